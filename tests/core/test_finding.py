import dataclasses
import json

from helpers.core import files, finding


def test_findings_of_run_json_show_what_they_did_and_missing_numbers_stay_missing():
    found = [finding.Finding("a", 0.5), finding.Finding("b", 0.1, -0.2, 0.3, "ahead", "points")]
    text = json.dumps(files.plain([dataclasses.asdict(each) for each in found]), allow_nan=False)
    again = finding.of_json(json.loads(text))
    assert finding.rows(again).equals(finding.rows(found))
    assert finding.rows(again).iloc[:, 1].tolist() == ["50.0 %", "+10.0 [-20.0, +30.0] points"]
