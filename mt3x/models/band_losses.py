"""What a band model's outputs for classes, timbres and drums are trained for."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mt3x.models import losses
from mt3x.music.instrument_classes import CLASSES

Batch = Mapping[str, jax.Array]
Part = tuple[jax.Array, jax.Array]


def count_cells(cells: jax.Array) -> jax.Array:
    """Return how many are True."""
    return jnp.sum(cells.astype(jnp.float32))


def cell_f1(
    probabilities: jax.Array, targets: jax.Array, positive_weight: float
) -> Part:
    """Return the F1 score of cells with targets above one half, as (sum, weight).

    `positive_weight` is that of the loss: where the target is t and it is w, the best
    probability is w t / (w t + 1 - t).
    """
    est = probabilities > positive_weight / (positive_weight + 1)
    ref = targets > 0.5
    return 2 * count_cells(est & ref), jnp.maximum(
        count_cells(est) + count_cells(ref), 1.0
    )


def class_loss(
    log_p_BxTxPxK: jax.Array, bits_BxTxP: jax.Array, frame_BxTxP: jax.Array
) -> Part:
    """Return the classes' cross-entropy where a note sounds, and its weight.

    The target is the same probability for each class that sounds; its entropy is taken
    off, so that a perfect prediction costs 0. All classes of a clip weigh the same,
    however many notes they play: chords would outweigh melodies.
    """
    bits_BxTxPxK = ((bits_BxTxP[..., None] >> jnp.arange(len(CLASSES))) & 1) > 0
    bits_BxTxPxK &= frame_BxTxP[..., None] > 0
    share_BxTxPxK = bits_BxTxPxK.astype(jnp.float32)
    count_BxTxP = jnp.sum(share_BxTxPxK, axis=-1)
    share_BxTxPxK /= jnp.maximum(count_BxTxP, 1.0)[..., None]
    cells_BxK = jnp.sum(share_BxTxPxK, axis=(1, 2))
    per_cell_BxK = 1 / jnp.maximum(cells_BxK, 1.0)
    weight_BxTxP = jnp.einsum("btpk,bk->btp", share_BxTxPxK, per_cell_BxK)
    chosen_BxTxP = jnp.sum(share_BxTxPxK * log_p_BxTxPxK, axis=-1)
    entropy_BxTxP = jnp.log(jnp.maximum(count_BxTxP, 1.0))
    loss = -jnp.sum(weight_BxTxP * (chosen_BxTxP + entropy_BxTxP))
    return loss, jnp.maximum(jnp.sum(weight_BxTxP), 1e-6)


def timbre_loss(
    timbre_BxTxPxE: jax.Array,
    parts_BxTxP: jax.Array,
    rng: jax.Array,
    num_cells: int,
    temperature: float,
) -> Part:
    """Return InfoNCE among some cells of each clip, and the number of its anchors.

    Cells are drawn among those where one part sounds. One is an anchor where others of
    its part were drawn: the loss is the mean of their negative log softmax among all
    other cells (Khosla et al. 2020, arXiv:2004.11362, eq. 2).
    """
    batch, size = len(timbre_BxTxPxE), timbre_BxTxPxE.shape[-1]
    parts_BxN = parts_BxTxP.reshape(batch, -1).astype(jnp.int32)
    num_cells = min(num_cells, parts_BxN.shape[1])
    order_N = jax.random.uniform(rng, parts_BxN.shape[1:])
    _, drawn_BxC = jax.lax.top_k(jnp.where(parts_BxN > 0, order_N, -1.0), num_cells)
    part_BxC = jnp.take_along_axis(parts_BxN, drawn_BxC, axis=1)
    timbre_BxNxE = timbre_BxTxPxE.reshape(batch, -1, size)
    timbre_BxCxE = jnp.take_along_axis(timbre_BxNxE, drawn_BxC[..., None], axis=1)

    logits_BxCxC = jnp.einsum("bce,bde->bcd", timbre_BxCxE, timbre_BxCxE) / temperature
    is_other_BxCxC = (part_BxC > 0)[:, None] & ~jnp.eye(num_cells, dtype=bool)
    logits_BxCxC = jnp.where(is_other_BxCxC, logits_BxCxC, -1e9)
    log_p_BxCxC = jax.nn.log_softmax(logits_BxCxC)
    same_BxCxC = is_other_BxCxC & (part_BxC[:, :, None] == part_BxC[:, None])
    count_BxC = jnp.sum(same_BxCxC.astype(jnp.float32), axis=-1)
    sum_BxC = -jnp.sum(jnp.where(same_BxCxC, log_p_BxCxC, 0.0), axis=-1)
    anchors = jnp.sum((count_BxC > 0).astype(jnp.float32))
    total = jnp.sum(sum_BxC / jnp.maximum(count_BxC, 1.0))
    return total, jnp.maximum(anchors, 1.0)


def drum_losses(
    outputs: Mapping[str, jax.Array],
    batch: Batch,
    positive_weight: float,
    velocity_mean_weight: float,
) -> dict[str, Part]:
    """Return the losses of drum onsets and of their velocities."""
    target_BxUxD = batch["drums"].astype(jnp.float32)
    onset = losses.binary_cross_entropy(outputs["drums"], target_BxUxD, positive_weight)
    velocity = losses.masked_squared_error(
        outputs["drum_velocity"],
        batch["drum_velocity"].astype(jnp.float32),
        target_BxUxD,
        velocity_mean_weight,
    )
    return {
        "drums": (onset, jnp.asarray(target_BxUxD.size, jnp.float32)),
        "drum_velocity": (velocity, jnp.maximum(jnp.sum(target_BxUxD), 1.0)),
    }
