"""The table of what stages need names the stages that there are."""

import yaml

from flows import needs
from tests.flows import toy


def test_every_stage_of_the_project_is_in_the_table_and_no_other():
    stages = yaml.safe_load((toy.PROJECT / "dvc.yaml").read_text())["stages"]
    assert list(needs._table()["stages"]) == list(stages)
    for stage in stages:
        assert needs.needs(stage).memory_gb < 8, "two of them fit on a laptop"


def test_a_stage_that_the_table_does_not_know_needs_the_defaults():
    assert needs.needs("other") == needs.Needs(**needs._table()["defaults"])
