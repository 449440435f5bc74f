"""A BERT-like encoder in torch, for whoever tunes one: the student that is fine-tuned, and the judge by choice.

Texts in, the mean of their token vectors out, with gradients. On the CPU in float32; safetensors alone.
"""

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Encoder:
    """The encoder in a folder with `config.json`, `model.safetensors` and `tokenizer.json`.

    Args:
        folder: See above.
        tokens: Longer texts are cut.
    """

    def __init__(self, folder: Path, tokens: int) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415
        from transformers import AutoModel  # noqa: PLC0415 - seconds
        from transformers.utils import logging  # noqa: PLC0415

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(tokens)
        self._tokenizer.no_padding()
        self.network: Any = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).float()
        """Without dropout until `network.train()`."""
        self._has_types = "token_type_ids" in inspect.signature(self.network.forward).parameters

    def read(self, texts: Sequence[Any]) -> list[Any]:
        """Return the token ids of texts, or of pairs of texts, as `means` takes them."""
        return list(self._tokenizer.encode_batch(list(texts)))

    def means(self, texts: Sequence[Any]) -> "Tensor":
        """Return the mean of the token vectors of each text, shape `(B, D)`."""
        import torch  # noqa: PLC0415

        longest = max(1, *(len(text.ids) for text in texts))

        def padded(rows: Iterator[list[int]]) -> "Tensor":
            return torch.tensor([row + [0] * (longest - len(row)) for row in rows])

        mask_B_T = padded(text.attention_mask for text in texts)
        types = {"token_type_ids": padded(text.type_ids for text in texts)} if self._has_types else {}
        ids_B_T = padded(text.ids for text in texts)
        hidden = self.network(input_ids=ids_B_T, attention_mask=mask_B_T, **types).last_hidden_state
        weights = mask_B_T.unsqueeze(-1)
        mean_B_D: Tensor = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
        return mean_B_D
