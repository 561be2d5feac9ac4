"""`evaluate` module: exact match and answer accuracy of ListOps completions."""

import datasets
import evaluate

from hf_listops.evaluation.exact_match import exact_match

_DESCRIPTION = """Shares in [0, 1] of ListOps completions that are the reference symbol by symbol (`exact_match`) and that
end in the right number, whatever the lines between (`answer_accuracy`)."""

_CITATION = """@misc{nangia2018listops,
  title = {ListOps: A Diagnostic Dataset for Latent Tree Learning},
  author = {Nangia, Nikita and Bowman, Samuel R.},
  year = {2018}
}"""

_INPUTS = """
Args:
    predictions (`list[str]`): completions, such as ` [SUM 3 9 ] = 2`; what stands after `<eos>` does not count.
    references (`list[str]`): right completions. One that ends in `<eos>` asks for it.
"""


class ListopsExactMatch(evaluate.Metric):  # type: ignore[misc] # evaluate has no types
    """A thin door to `hf_listops.evaluation.exact_match`."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return exact_match(predictions, references)
