"""What all sections of the use case file share: their base class, which refuses unknown keys, and their types."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Score = Annotated[float, Field(gt=0.0, le=1.0)]


class Section(BaseModel):
    """A mapping of the file. An unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
