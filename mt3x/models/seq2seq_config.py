"""The sizes of MT3's network."""

from dataclasses import dataclass, field

from mt3x.models.stem import StemConfig
from mt3x.models.transformer import REMAT_POLICIES
from mt3x.music.options import check_fields

ACTIVATIONS = (
    *("linear", "gelu", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "silu"),
    *("swish", "sigmoid", "hard_sigmoid", "hard_swish", "soft_sign", "softplus"),
    *("tanh", "hard_tanh"),
)
"""Of the MLPs: functions of flax.linen, and none."""


@dataclass(frozen=True)
class Seq2SeqConfig:
    """The layer sizes; the defaults are MT3's (T5 1.1 small)."""

    # Rows of the embedding: ids of the vocabulary rounded up to a multiple of 128.
    vocab_size: int = 1536
    emb_dim: int = 512
    num_heads: int = 6
    head_dim: int = 64
    num_encoder_layers: int = 8
    num_decoder_layers: int = 8
    mlp_dim: int = 1024
    # Of ACTIVATIONS; the products of all of them are taken.
    mlp_activations: tuple[str, ...] = ("gelu", "linear")
    dropout_rate: float = 0.1
    # Feature bins of a frame.
    input_depth: int = 512
    # What the backward pass recomputes to save memory, of REMAT_POLICIES.
    remat: str = "none"
    # Compile one layer and loop over all: compiles faster, stores the same parameters.
    scan_layers: bool = False
    # Convolutions before, beside or inside of the encoder.
    stem: StemConfig = field(default_factory=StemConfig)
    # A learned vector after the frames: 511 of them fill 512 positions.
    end_marker: bool = False
    # Tokens of a draft that come with each frame (`mt3x.models.draft`); 0: no draft.
    draft_columns: int = 0

    def __post_init__(self) -> None:
        if self.remat not in REMAT_POLICIES:
            raise ValueError(
                f"remat must be one of {', '.join(REMAT_POLICIES)}, "
                f"found {self.remat!r}"
            )
        if not self.mlp_activations:
            raise ValueError("mlp_activations are none: give one or more")
        for activation in self.mlp_activations:
            if activation not in ACTIVATIONS:
                raise ValueError(
                    f"mlp_activations: {activation!r} is none of "
                    f"{', '.join(ACTIVATIONS)}"
                )
        check_fields(
            self,
            vocab_size=(1, 2**17),
            emb_dim=(1, 16_384),
            num_heads=(1, 256),
            head_dim=(1, 4096),
            num_encoder_layers=(1, 128),
            num_decoder_layers=(1, 128),
            mlp_dim=(1, 65_536),
            dropout_rate=(0, 0.99),
            input_depth=(1, 4096),
            draft_columns=(0, 256),
        )
        if self.stem.reads_mel and self.input_depth % 4:
            raise ValueError(
                f"input_depth={self.input_depth} must be a multiple of 4, as the stem "
                "pools bins by 2 twice"
            )


SIZES = {
    "small": Seq2SeqConfig(),
    "base": Seq2SeqConfig(
        emb_dim=768,
        num_heads=12,
        num_encoder_layers=12,
        num_decoder_layers=12,
        mlp_dim=2048,
    ),
}
