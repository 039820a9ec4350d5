"""What pausing, scaling to zero and deleting mean: what it costs then, what becomes of the quota, how it is undone."""

from __future__ import annotations

COMPARED = """\
\b
                 billed   quota      next request     undone by
  pause          nothing  given back is refused       resume, or start
  scale-to-zero  nothing  stays held wakes it         the next request, or start
  delete         nothing  given back finds nothing    nothing: deploy makes a new one with another URL
"""
"""For the help of each of the three, so that whoever chooses one sees the others."""

DELETING = (
    "Deleting is for good: its settings, secrets, logs and URL are gone, and a new endpoint gets another URL. "
    "The model's repository stays. `lamplighter pause` costs nothing either, gives the quota back and can be undone."
)
