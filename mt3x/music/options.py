"""Checks of options: what no model has is one line, before anything computes with it.

Options come from gin files, and from weights of strangers. Ranges are wide; their upper
ends keep what is made from options (kernels, caches) from taking gigabytes.
"""

import dataclasses
import numbers
from typing import Any

__all__ = ["check_fields"]


def check_fields(options: Any, **ranges: tuple[float, float]) -> None:
    """Raise ValueError where a field of a dataclass is not a number within its range.

    Fields of type int, and tuples of them, must be whole numbers. Values that are None
    pass: where a field may be None, that is in range.

    Args:
      options: the dataclass.
      ranges: lowest and highest value, both allowed, by the fields' names. Of a tuple
        they are those of its members.
    """
    types = {field.name: str(field.type) for field in dataclasses.fields(options)}
    for name, (lowest, highest) in ranges.items():
        value = getattr(options, name)
        whole = "int" in types[name]
        kind: type = numbers.Integral if whole else numbers.Real
        is_several = "tuple" in types[name] and isinstance(value, (tuple, list))
        members: Any = value if is_several else (value,)
        for number in members:
            right = isinstance(number, kind) and not isinstance(number, bool)
            # NaN is in no range.
            if number is not None and not (right and lowest <= number <= highest):
                what = "a whole number" if whole else "a number"
                raise ValueError(
                    f"{name}={str(value)[:60]}: give {what} from {lowest:g} to "
                    f"{highest:g}"
                )
