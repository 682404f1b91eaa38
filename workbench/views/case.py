"""What the Decode page is about: one user's decode, and the words that pages use for it."""

from __future__ import annotations

from dataclasses import dataclass

from diffsasrec.trace import DecodeTrace
from workbench.decode_request import DecodeRequest
from workbench.replay import replay_html
from workbench.views.sources import Person, Source


@dataclass(frozen=True)
class Case:
    """One user's decode, with the source that knows titles and the person whose history it starts from."""

    source: Source
    person: Person
    trace: DecodeTrace  # of this user alone
    request: DecodeRequest  # that gave it

    @property
    def heading(self) -> str:
        return f"User {self.person.user_id}, {self.trace.config.get('rule', self.trace.kind)}"

    def replay(self) -> str:
        """Return the decode as an HTML page of its own."""
        return self._replay(is_part_of_a_page=False, dark=None)

    def film(self, *, dark: bool) -> str:
        """Return what plays the decode within a page."""
        return self._replay(is_part_of_a_page=True, dark=dark)

    def _replay(self, *, is_part_of_a_page: bool, dark: bool | None) -> str:
        return replay_html(
            self.trace,
            self.source.title,
            target=self.person.target,
            title=f"User {self.person.user_id}, {self.source.name}",
            history_details=[self.person.when(moment) for moment in self.person.timestamps.tolist()],
            is_part_of_a_page=is_part_of_a_page,
            dark=dark,
        )
