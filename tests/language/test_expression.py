from pathlib import Path

import oracle
import pytest

from hf_listops.errors import ListOpsError
from hf_listops.language import Task, evaluate, parse, prompt_and_completion, trace
from hf_listops.language.expression import reduced_calls

TASK = Task(("MAX", "MIN", "MED", "SUM"))


def test_the_three_traces() -> None:
    text = "[SUM 3 [MAX 7 [MIN 4 2 ] ] [MED 1 5 ] ]"
    expected = {
        "parallel": [text, "[SUM 3 [MAX 7 2 ] 3 ]", "[SUM 3 7 3 ]", "3"],
        "leftmost": [text, "[SUM 3 [MAX 7 2 ] [MED 1 5 ] ]", "[SUM 3 7 [MED 1 5 ] ]", "[SUM 3 7 3 ]", "3"],
        "direct": [text, "3"],
    }
    for name, lines in expected.items():
        task = Task(TASK.operations, trace=name)  # type: ignore[arg-type]
        assert [str(line) for line in trace(parse(text), task)] == lines
    assert reduced_calls(parse(text), TASK) == ["[MIN 4 2 ]", "[MAX 7 2 ]", "[MED 1 5 ]", "[SUM 3 7 3 ]"]


def test_prompt_and_completion() -> None:
    assert prompt_and_completion(parse("[SUM 3 [MAX 7 4 9 ] ]"), TASK) == (
        "[SUM 3 [MAX 7 4 9 ] ] =",
        " [SUM 3 9 ] = 2",
    )


def test_a_number_is_an_expression() -> None:
    assert parse("7").depth == 0
    assert evaluate(parse("7"), TASK) == 7
    assert prompt_and_completion(parse("7"), TASK) == ("7 =", " 7")


def test_original_rows(shared: Path) -> None:
    rows = shared.read_text().splitlines()
    assert len(rows) == 2000
    for row in rows:
        value, text = row.split("\t")
        expression = parse(text, 10)
        assert evaluate(expression, TASK) == int(value)
        assert parse(str(expression)) == expression
        assert str(expression).split() == [
            {"[SM": "[SUM"}.get(token, token) for token in text.split() if token not in ("(", ")")
        ]
        assert [str(line) for line in trace(expression, TASK)] == oracle.lines(
            oracle.read(str(expression)), "parallel", 10, {}
        )


def test_original_product_and_groups() -> None:
    assert str(parse("( ( ( [PM 2 ) 3 ) ] )")) == "[PROD 2 3 ]"
    assert str(parse("( ( ( [SM 2 ) ( ( ( [FIRST 3 ) 4 ) ] ) ) ] )")) == "[SUM 2 [FIRST 3 4 ] ]"


@pytest.mark.parametrize("trace_name", ["parallel", "leftmost"])
def test_deep_and_long_expressions(trace_name: str) -> None:
    task = Task(TASK.operations, trace=trace_name)  # type: ignore[arg-type]
    deep = "[SUM 1 " * 3000 + "1" + " ]" * 3000
    assert parse(deep).depth == 3000
    assert evaluate(parse(deep), task) == 3001 % 10
    middle = "[MAX 1 " * 20 + "[SUM " + "3 " * 1000 + "]" + " ]" * 20
    lines = trace(parse(middle), task)
    assert len(lines) == 22
    assert str(lines[-1]) == "1"


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("", 0, "a number or a call"),
        ("[SUM 3", 6, "a number or a call"),
        ("[SUM 3 4", 8, "an argument or ']'"),
        ("[SUM 3 ]", 7, "at least two arguments"),
        ("[SUM ]", 5, "at least two arguments"),
        ("]", 0, "a number or a call"),
        ("[SUM 3 4 ] 5", 11, "the end of the expression"),
        ("3 4", 2, "the end of the expression"),
        ("[SUMM 3 4 ]", 0, "did you mean 'SUM'"),
        ("[sum 3 4 ]", 0, "one of MAX"),
        ("[SUM 3 x ]", 7, "a number"),
        ("[SUM 3 -4 ]", 7, "a number"),
        ("[SUM 3 04 ]", 7, "a number"),
        ("[SUM 3 12 ]", 7, "a number in 0 … 9"),
        ("[SUM 3 4]", 7, "a number"),
        ("( [SUM 3 4 ] )", 9, "')' after the two items"),
        ("( ( ( [SUM 3 ) 4 ) ] ", 21, "')'"),
        ("( ( [SUM 3 ) ( 5 4 ) ] )", 15, "'(' or an operation"),
        ("[SUM 3 4 ] )", 11, "the end of the expression"),
        (") 3", 0, "a number, a call"),
    ],
)
def test_malformed(text: str, position: int, expected: str) -> None:
    with pytest.raises(ListOpsError) as error:
        parse(text, 10)
    assert f"at character {position} " in str(error.value)
    assert expected in str(error.value)
