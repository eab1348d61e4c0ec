"""The names of interventions, ``scanner=other+pleural_effusion=1``, and the terms that they are made of."""

import re

_JOIN = re.compile(r"\+(?=[^=+]+=)")  # a plus that a further parent follows: values may hold one themselves


def split_terms(name: str) -> list[str]:
    """``"scanner=GE 5000++sex=F"`` -> ``["scanner=GE 5000+", "sex=F"]``."""
    return _JOIN.split(name)


def settings_of(name: str) -> list[tuple[str, str]]:
    """``"scanner=other+sex=F"`` -> ``[("scanner", "other"), ("sex", "F")]``."""
    return [(parent.strip(), value) for parent, _, value in (term.partition("=") for term in split_terms(name))]
