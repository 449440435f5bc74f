"""Settings of who writes: the policy's model and engine, and the server behind it."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError


class SettingsPart(BaseModel):
    """Base of the parts of a configuration: frozen, and nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PolicySettings(SettingsPart):
    """Who writes."""

    model: str = "SmolLM2-135M-Instruct"
    """The embedded default, a local folder, or a Hugging Face name of any causal language model."""
    device: str = "auto"
    """`auto` takes CUDA if there is one."""
    dtype: Literal["float32", "mixed", "bfloat16", "float16"] = "float32"
    """`mixed` learns in float32 and writes samples with products in bfloat16: faster on a CPU with AVX-512 BF16 or AMX, slower
    on another; sampler and trainer then differ by far more than rounding (docs/NUMERICS.md), as in bfloat16 for both."""
    rank: Annotated[int, Field(ge=1, le=512)] = 8
    alpha: Annotated[int, Field(ge=1)] = 16
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    """CPU threads. Fixed, because results are bit-identical only for the same number."""
    micro_batch: Annotated[int, Field(ge=1)] = 448
    """Most tokens that a learning step reads at once, prompt included: about 1.5 MB of memory each at 135M weights. A prompt is
    read again for each part that its group is cut into."""
    checkpointing: bool = False
    """Compute activations again instead of keeping them: a third more time, a fraction of the memory, equal bits."""
    engine: Literal["transformers", "vllm", "openai"] = "transformers"
    """Embedded; vLLM in this process (`make vllm`); or any server with OpenAI's chat API, at `base_url`."""
    base_url: str = ""
    """Of the server, with the version: `http://localhost:8000/v1`."""
    grammar: Literal["none", "json"] = "none"
    """`json`: samples are JSON objects of the card's fields, by construction; `none`: plain text that is parsed."""

    @field_validator("base_url")
    @classmethod
    def _is_plain_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in {"http", "https"} or not parts.hostname):
            raise ValueError("it must begin with http:// or https://")
        if parts.username or parts.password or parts.query:
            # Settings are recorded, so a secret in them would be, too.
            raise PydanticCustomError(
                "secret", "put no key into it: name its environment variable in server.api_key_env"
            )
        return url

    @model_validator(mode="after")
    def _fits_the_engine(self) -> Self:
        if self.engine == "openai" and not self.base_url:
            raise PydanticCustomError(
                "server", "policy.engine=openai needs policy.base_url, like http://localhost:8000/v1"
            )
        if self.engine != "transformers" and self.dtype == "mixed":
            raise PydanticCustomError("server", "policy.dtype=mixed is for policy.engine=transformers alone")
        return self


class ServerSettings(SettingsPart):
    """The server behind `policy.engine=openai`, where `policy.model` is the server's name for the model."""

    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")] = "OPENAI_API_KEY"
    """Environment variable that holds the key; nothing else of it is read or kept. Unset: no key is sent."""
    timeout: Annotated[float, Field(gt=0, le=3600)] = 120.0
    """Seconds for one sample."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    parallel: Annotated[int, Field(ge=1, le=256)] = 16
    """Requests at a time."""
    per_minute: Annotated[float, Field(ge=0)] = 0.0
    """Most requests in a minute; 0 sets no limit."""
    weights: str = ""
    """The same model's weights here (as `policy.model` of the embedded engine), to learn with; empty: no learning."""
    adapters: str = ""
    """Folder that the server reads adapters from; empty for a temporary one on this machine."""
