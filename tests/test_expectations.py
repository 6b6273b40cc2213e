"""Great Expectations is told what we expect, and fails closed where it does not by itself."""

from __future__ import annotations

import pandas
import pytest

from components.validation.expectations import Check, evaluate, explain_name

FRAME = pandas.DataFrame({"text": ["good", "bad", None, "fine"], "label": ["x", "y", "x", "z"]}, index=[7, 7, 7, 7])


def check(expectation, **arguments):
    return Check("checked", expectation, arguments, "stop", "{rows} of {total} rows: {values}.", "mend it.")


def test_a_failing_check_names_its_rows_by_position_whatever_the_index():
    (finding,) = evaluate([check("expect_column_values_to_be_in_set", column="label", value_set=["x", "y"])], FRAME)
    assert (finding.passed, finding.errored, finding.rows.tolist()) == (False, False, [3])
    assert finding.sentence == "1 of 4 rows: 'z'."


def test_a_passing_check_has_no_rows():
    (finding,) = evaluate([check("expect_column_values_to_not_match_regex", column="text", regex="q")], FRAME)
    assert (finding.passed, finding.rows.tolist()) == (True, [])


def test_findings_come_in_the_order_of_the_checks_equal_ones_too():
    checks = [
        check("expect_column_values_to_not_be_null", column="text"),
        check("expect_column_values_to_not_be_null", column="label"),
        check("expect_column_values_to_not_be_null", column="text"),
        check("expect_table_row_count_to_be_between", min_value=5),
    ]
    findings = evaluate(checks, FRAME)
    assert [finding.check for finding in findings] == checks
    assert [finding.passed for finding in findings] == [False, True, False, False]


@pytest.mark.parametrize(
    ("failing", "said"),
    [
        (
            check("expect_column_values_to_be_in_sett", column="label"),
            "did you mean 'expect_column_values_to_be_in_set'?",
        ),
        (check("expect_column_values_to_not_be_null", column="words"), '"words" in BatchData does not exist'),
        (check("expect_column_values_to_not_be_null", colum="text"), "does not take these arguments"),
        (check("expect_column_values_to_not_match_regex", column="text", regex="("), "could not be evaluated"),
        (check("expect_column_values_to_be_between", column="text", min_value=3), "could not be evaluated"),
    ],
)
def test_a_check_that_cannot_be_evaluated_fails_and_the_others_are_evaluated(failing, said):
    sound = check("expect_column_values_to_not_be_null", column="label")
    findings = evaluate([failing, sound], FRAME)
    assert (findings[0].passed, findings[0].errored) == (False, True)
    assert said in findings[0].sentence
    assert "\n" not in findings[0].sentence
    assert findings[1].passed


def test_no_rows_is_a_failure():
    (finding,) = evaluate([check("expect_column_values_to_not_be_null", column="text")], FRAME.head(0))
    assert (finding.passed, finding.errored, finding.sentence) == (False, True, "There are no rows to evaluate.")


def test_no_checks_is_a_failure():
    (finding,) = evaluate([], FRAME)
    assert (finding.passed, finding.sentence) == (False, "Not a single expectation was evaluated.")


def test_every_name_of_the_library_is_known():
    import great_expectations.expectations.core as core

    names = [name for name in dir(core) if name.startswith("expect_")]
    assert len(names) > 40
    assert [explain_name(name) for name in names] == [None] * len(names)


def test_nothing_is_printed(capsys):
    evaluate([check("expect_column_values_to_not_be_null", column="text")], FRAME)
    assert capsys.readouterr() == ("", "")


def test_an_exception_that_may_repeat_values_is_not_told():
    frame = pandas.DataFrame({"text": ["card 4111", "bad"]})
    arguments = {"column": "text", "strftime_format": "%Y"}
    (finding,) = evaluate([check("expect_column_values_to_be_json_parseable", column="text")], frame)
    assert not finding.errored
    (finding,) = evaluate([check("expect_column_values_to_be_dateutil_parseable", column="text")], frame)
    assert "4111" not in finding.sentence or not finding.errored
    (finding,) = evaluate([check("expect_column_values_to_match_strftime_format", **arguments)], frame)
    assert "4111" not in finding.sentence or not finding.errored
    (finding,) = evaluate([check("expect_column_values_to_match_json_schema", column="text", json_schema={})], frame)
    assert finding.errored
    assert finding.sentence.endswith("could not be evaluated: the values are not of the kind that it looks at.")
