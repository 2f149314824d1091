"""What a network is traced for: layers choose their form by it."""

import jax


def platform() -> str:
    """`cpu`, `gpu`, `tpu`: of the mesh in use, or else of JAX's default device.

    The devices of a mesh may be described ones, as in ahead-of-time compilation.
    """
    device = getattr(jax.sharding.get_abstract_mesh(), "abstract_device", None)
    return jax.default_backend() if device is None else device.platform
