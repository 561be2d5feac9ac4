"""The tokenizer: one id a symbol, in the order of `Task.vocabulary`, no unknown."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hf_listops.language import Task
from hf_listops.language.task import EOS, PAD


def make_tokenizer(task: Task, model_max_length: int) -> PreTrainedTokenizerFast:
    """A WordLevel tokenizer over white space, which `AutoTokenizer` loads from any folder it is saved to.

    It adds no special token by itself (training appends `<eos>`), so that tokenizing a prompt and its completion
    joined equals joining their tokens. An unknown symbol raises, since there is no `<unk>`.
    """
    vocabulary = {symbol: place for place, symbol in enumerate(task.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=EOS,
        padding_side="right",
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
    )
