"""A WordPiece tokenizer of our own: whole words from a list, characters as the fallback."""

import string
from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


def build_tokenizer(
    words: Iterable[str], length: int, mask: bool = True
) -> PreTrainedTokenizerFast:
    """A lower-casing tokenizer that writes ``[CLS] text [SEP]``, at most ``length`` tokens.

    Every printable ASCII character is in the vocabulary, so that an unknown word is spelt, not
    lost. ``[PAD]`` is 0 and ``[SEP]`` the highest id: OWL-ViT pools its text at the highest id and
    takes a text whose first id is 0 for padding. ``mask`` False leaves the attention mask out, as
    SigLIP's tokenizer does.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    characters = sorted(set(string.printable.lower()) - set(string.whitespace))
    pieces = [*characters, *("##" + c for c in characters)]
    whole = sorted({p for word in words for p in _parts(word)} - set(pieces))
    names = [PAD, UNKNOWN, START, *pieces, *whole, END]
    ids = {name: index for index, name in enumerate(names)}
    core = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN, max_input_chars_per_word=100))
    core.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=END,
        bos_token=START,
        eos_token=END,
        model_max_length=length,
        model_input_names=["input_ids", "attention_mask"] if mask else ["input_ids"],
    )


def _parts(word: str) -> list[str]:
    # Punctuation is cut off before the lookup, so only the letters between can be whole words.
    kept = "".join(c if c.isalnum() else " " for c in word.lower())
    return kept.split()
