"""What all sections of `lamplighter.yaml` have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Keys and values: no others than those that are known, frozen once they are read.

    What stands under each field is its description in the schema, too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
