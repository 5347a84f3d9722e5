"""The tracker on a virtual clock: stories, and what holds in every story."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from track_story import START_S, Story, check_names, check_polite, check_rates
from unflux.track import Settings, Tracker
from unflux.track.pace import Bucket, Rate

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.scenario"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_story_goes_as_it_is_told(path: Path) -> None:
    story = Story()
    story.play(path)
    check_polite(story.asked, story.settings)
    check_rates(story.asked, story.settings)
    listed = {
        word
        for line in path.read_text().splitlines()
        if " list " in line
        for word in line.split()[3:]
    }
    check_names(story, listed)


NAMES = [f"w{number}.z{number % 3}.test." for number in range(6)]
TTLS = st.sampled_from([0, 1, 30, 60, 61, 300, 4000, 2**31, 2**32 - 1])
MOVES = st.one_of(
    st.tuples(st.just("serve"), st.sampled_from(NAMES), TTLS, st.integers(1, 250)),
    st.tuples(
        st.just("deny"), st.sampled_from(NAMES), st.sampled_from(["nxdomain", "noerror"]), TTLS
    ),
    st.tuples(
        st.just("break"),
        st.sampled_from(NAMES),
        st.sampled_from(["timeout", "servfail", "refused"]),
    ),
    st.tuples(st.just("mend"), st.sampled_from(NAMES)),
    st.tuples(st.just("alias"), st.sampled_from(NAMES), st.sampled_from(NAMES), TTLS),
    st.tuples(st.just("move"), st.integers(0, 2), TTLS, st.integers(1, 250)),
    st.tuples(st.just("clock"), st.sampled_from(["+1h", "-1h", "+3d", "-3d"])),
    st.tuples(st.just("crash")),
    st.tuples(st.just("unlist"), st.sampled_from(NAMES)),
    st.tuples(st.just("list"), st.sampled_from(NAMES)),
)


def move(story: Story, what: tuple) -> None:
    kind, *rest = what
    if kind == "serve":
        story.do_serve(rest[0], str(rest[1]), "A", f"192.0.2.{rest[2]}")
    elif kind == "alias":
        story.do_serve(rest[0], str(rest[2]), "CNAME", rest[1])
    elif kind == "move":
        story.do_delegate(
            f"z{rest[0]}.test.", str(rest[1]), f"ns.z{rest[0]}.test.=198.51.100.{rest[2]}"
        )
    else:
        getattr(story, f"do_{kind}")(*map(str, rest))


@settings(max_examples=100, deadline=None)
@given(
    mode=st.sampled_from(["resolver", "authoritative", "both"]),
    moves=st.lists(st.tuples(st.integers(1, 4000), MOVES), max_size=25),
    overall=st.sampled_from([0.05, 0.5, 5.0]),
    per_server=st.sampled_from([0.02, 0.3, 20.0]),
    per_name=st.sampled_from([5.0, 60.0, 360.0]),
    floor=st.sampled_from([1.0, 60.0, 600.0]),
    seed=st.integers(0, 1000),
)
def test_whatever_happens_it_stays_polite(
    mode, moves, overall, per_server, per_name, floor, seed
) -> None:
    limits = Settings(
        floor_s=floor, overall_s=overall, per_server_s=per_server, per_name_server_s=per_server,
        per_name_h=per_name,
    )  # fmt: skip
    story = Story(limits, mode, seed)
    story.do_delegate("test.", "86400", "ns.nic.test.=198.18.0.2")
    for zone in range(3):
        story.do_delegate(f"z{zone}.test.", "300", f"ns.z{zone}.test.=192.0.2.{200 + zone}")
    story.do_list(*NAMES[:4])
    for wait_s, what in moves:
        story.run_until(story.now + wait_s)
        move(story, what)
    story.run_until(story.now + 3600)
    check_polite(story.asked, limits)
    check_rates(story.asked, limits)
    check_names(story, set(NAMES))
    out = sum(target.in_flight for target in story.tracker.targets.values())
    assert out == len(story.out), "each query out is waited for, and no other"


@given(
    per_s=st.floats(0.0002, 1000),
    tokens=st.floats(-1, 1),
    later_s=st.floats(0, 1e9, allow_nan=False),
)
def test_a_wait_that_is_announced_has_an_end_that_the_clock_can_show(
    per_s, tokens, later_s
) -> None:
    now = START_S + later_s
    bucket = Bucket(Rate(per_s, max(per_s, 1)), tokens, now)
    wait_s = bucket.wait_s(now)
    assert bucket.wait_s(now + wait_s) == 0.0
    assert wait_s == 0.0 or now + wait_s > now, "no clock gets there, and the tracker would spin"


def test_nobody_is_asked_by_default() -> None:
    with pytest.raises(ValueError, match="nobody is asked by default"):
        Tracker(Settings(), started_s=START_S)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"floor_s.*overall_s"):
        Settings(floor_s=0, overall_s=-1)
