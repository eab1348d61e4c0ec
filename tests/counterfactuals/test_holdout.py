import numpy as np
import pandas as pd

from densecf.counterfactuals.holdout import held_out


def records(patients):
    split = ["manual" if i % 10 == 0 else "train" for i in range(len(patients))]
    return pd.DataFrame({"image": [f"i{i}" for i in range(len(patients))], "patient_id": patients, "split": split})


def test_the_manual_split_and_a_share_of_the_patients():
    table = records([f"p{i}" for i in range(4000)])
    found = held_out(table, share=0.1)
    manual = (table["split"] == "manual").to_numpy()
    assert found[manual].all()
    assert 0.08 < found[~manual].mean() < 0.12
    assert not held_out(table, share=0.0)[~manual].any()
    assert (found != held_out(table, share=0.1, seed=1)).any()


def test_a_patient_is_never_divided_and_stays_where_it_was_when_others_come():
    few = records([f"p{i % 50}" for i in range(9)])
    many = records([f"p{i % 50}" for i in range(200)]).assign(split="train")
    by_patient = many.assign(out=held_out(many, share=0.3)).groupby("patient_id")["out"]
    assert (by_patient.nunique() == 1).all()
    fate = by_patient.first()
    found = held_out(few.assign(split="train"), share=0.3)
    assert np.array_equal(found, fate[few["patient_id"]].to_numpy())
