import hashlib
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diffsasrec import counting
from diffsasrec.config import from_dict, to_dict
from diffsasrec.interactions import Interactions
from diffsasrec.randomness import uniform, user_seeds
from diffsasrec.splits import SPLITS, Split, SplitConfig, make_split


def interactions_of(rows):
    return Interactions.from_table(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]))


def tables(max_users=7, max_items=9, max_time=25, max_rows=60):
    row = st.tuples(st.integers(1, max_users), st.integers(1, max_items), st.integers(0, max_time))
    return st.lists(row, min_size=1, max_size=max_rows).map(interactions_of)


def items_of(interactions, start, end):
    return interactions.vocabulary.decode(interactions.tokens[start:end]).tolist()


def described(split: Split, part):
    """What a part says of each user, in item ids: {user: (history, target)}."""
    interactions = split.interactions
    return {
        int(interactions.user_ids[row]): (
            items_of(interactions, start, end),
            items_of(interactions, target, target + 1)[0],
        )
        for row, start, end, target in zip(part.rows, part.start, part.end, part.target, strict=True)
    }


def trained(split: Split):
    ranges = zip(split.train_rows, split.train_start, split.train_end, strict=True)
    return {
        int(split.interactions.user_ids[row]): items_of(split.interactions, start, end)
        for row, start, end in ranges
    }


THREE_USERS = (
    [(1, item, item) for item in (10, 11, 12, 13)]
    + [(2, 10, 1), (2, 99, 2)]
    + [
        (3, 11, 5),
        (3, 10, 6),
        (3, 77, 7),
    ]
)


def test_leave_one_out_holds_out_the_last_and_the_one_before():
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    assert described(split, split.validation) == {1: ([10, 11], 12), 3: ([11], 10)}
    assert described(split, split.test) == {1: ([10, 11, 12], 13), 3: ([11, 10], 77)}
    assert trained(split) == {1: [10, 11], 2: [10, 99], 3: [11]}


def test_targets_that_never_train_are_kept_and_marked_cold():
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    assert split.validation.cold.tolist() == [True, False]  # 12 is nowhere else, 10 is in training
    assert split.test.cold.tolist() == [True, True]
    assert len(split.training_counts()) == split.interactions.num_items == 6
    assert split.training_counts().tolist() == [2, 2, 0, 0, 0, 1]  # items 10, 11, 12, 13, 77, 99


def test_refit_trains_up_to_the_test_targets_and_leaves_the_parts_alone():
    interactions = interactions_of(THREE_USERS)
    split, refit = make_split(interactions, SplitConfig()), make_split(interactions, SplitConfig(refit=True))
    assert trained(refit) == {1: [10, 11, 12], 2: [10, 99], 3: [11, 10]}
    for name in ("validation", "test"):
        assert described(refit, refit.part(name)) == described(split, split.part(name))
        assert refit.target_hash(name) == split.target_hash(name)


@st.composite
def worlds(draw):
    """Draw a few users with a few interactions each, every user's cut into train, validation and test."""
    rows = draw(
        st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(0, 25)), min_size=1, max_size=90)
    )
    ends = draw(st.lists(st.tuples(st.integers(0, 27), st.integers(0, 27)), min_size=6, max_size=6))
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    table["part"] = [sum(time >= end for end in ends[user - 1]) for user, _, time in rows]
    return Interactions.from_table(table)


def configs():
    return st.builds(
        SplitConfig,
        name=st.sampled_from(SPLITS),
        quantile=st.sampled_from([0.5, 0.75, 0.9]),
        num_targets=st.integers(1, 4),
        refit=st.booleans(),
        held_out_users=st.sampled_from([0.0, 0.0, 0.3, 0.7]),
        held_out_seed=st.integers(0, 3),
    )


def cutoff_of(timestamps, quantile):
    """The higher of the two order statistics around the quantile, from its definition."""
    ordered = sorted(timestamps)
    return ordered[int(np.ceil(quantile * (len(ordered) - 1)))] if ordered else 0


def cut_last(users, num_targets):
    """A rule says of each user: where training ends, and (end of history, target, end of future) of each part."""
    cuts = {}
    for user, rows in users.items():
        n, k = len(rows), num_targets
        if n < 3 * k:
            cuts[user] = (n, n, None, None)
        else:
            cuts[user] = (n - 2 * k, n - k, (n - 2 * k, n - 2 * k, n - k), (n - k, n - k, n))
    return cuts


def cut_by_time(users, quantile, trains):
    times = [time for rows in users.values() for _, time, _ in rows]
    test = cutoff_of(times, quantile)
    validation = cutoff_of([time for time in times if time < test], quantile)
    known = {item for user in trains for item, time, _ in users[user] if time < validation}

    def part(rows, low, high):
        history = sum(time < low for _, time, _ in rows)
        for place, (item, time, _) in enumerate(rows):
            if low <= time < high and item in known and history > 0:
                return history, place, place + 1
        return None

    return {
        user: (
            sum(time < validation for _, time, _ in rows),
            sum(time < test for _, time, _ in rows),
            part(rows, validation, test),
            part(rows, test, 10**9),
        )
        for user, rows in users.items()
    }


def cut_as_given(users):
    cuts = {}
    for user, rows in users.items():
        own = [[place for place, row in enumerate(rows) if row[2] == part] for part in range(3)]
        parts = [(held[0], held[0], held[-1] + 1) if held and held[0] > 0 else None for held in own[1:]]
        cuts[user] = (len(own[0]), len(own[0]) + len(own[1]), *parts)
    return cuts


def reference(interactions, config):
    """Return training and parts as a loop over users says, None where a split has nothing to train on or to judge."""
    bounds = zip(interactions.offsets[:-1], interactions.offsets[1:], strict=True)
    users = {
        int(user): list(
            zip(
                items_of(interactions, low, high),
                interactions.timestamps[low:high].tolist(),
                interactions.parts[low:high].tolist(),
                strict=True,
            )
        )
        for user, (low, high) in zip(interactions.user_ids, bounds, strict=True)
    }
    seed, share = config.held_out_seed, config.held_out_users
    held = {user for user in users if share > 0 and float(uniform(seed, user_seeds([user]))) < share}
    trains = set(users) - held
    if config.name == "global_time":
        cuts = cut_by_time(users, config.quantile, trains)
    elif config.name == "from_files":
        cuts = cut_as_given(users)
    else:
        cuts = cut_last(users, 1 if config.name == "leave_one_out" else config.num_targets)
    items = {user: [item for item, _, _ in rows] for user, rows in users.items()}
    training = {user: items[user][: cuts[user][1 if config.refit else 0]] for user in sorted(trains)}
    training = {user: own for user, own in training.items() if own}
    known = {item for own in training.values() for item in own}
    parts = {"validation": {}, "test": {}}
    for user, own in items.items():
        for name, cut in zip(parts, cuts[user][2:], strict=True):
            if cut is not None and (user in held or share == 0):
                history, target, end = cut
                parts[name][user] = (own[:history], own[target:end], own[target] not in known)
    return (training, parts) if training and all(parts.values()) else None


def futures(split, part):
    """What a part says of each user: {user: (history, future, is cold)}."""
    columns = (part.rows, part.start, part.end, part.target, part.future_end, part.cold.tolist())
    return {
        int(split.interactions.user_ids[row]): (
            items_of(split.interactions, start, end),
            items_of(split.interactions, target, future_end),
            cold,
        )
        for row, start, end, target, future_end, cold in zip(*columns, strict=True)
    }


@settings(deadline=None, max_examples=400)
@given(worlds(), configs(), st.sampled_from([1, 3, 1 << 22]))
def test_every_split_is_what_a_loop_over_users_says(interactions, config, chunk):
    expected = reference(interactions, config)
    with mock.patch.object(counting, "CHUNK", chunk):
        if expected is None:
            with pytest.raises(ValueError, match=config.name):
                make_split(interactions, config)
            return
        split = make_split(interactions, config)
    training, parts = expected
    assert trained(split) == training
    for name, expected_part in parts.items():
        assert futures(split, split.part(name)) == expected_part
    if config.name == "global_time":
        times = interactions.timestamps
        assert split.test_cutoff == np.quantile(times, config.quantile, method="higher")
        earlier = times[times < split.test_cutoff]
        assert split.validation_cutoff == np.quantile(earlier, config.quantile, method="higher")
    seen = [item for own in training.values() for item in own]
    assert split.training_counts().tolist() == [seen.count(item) for item in interactions.vocabulary.item_ids]


def test_who_is_held_out_does_not_depend_on_other_users_or_on_the_order_of_rows():
    table = pd.DataFrame(
        [(f"u{user}", item, item) for user in range(60) for item in range(5)],
        columns=["user_id", "item_id", "timestamp"],
    )

    def who(frame, seed=1):
        split = make_split(
            Interactions.from_table(frame), SplitConfig(held_out_users=0.5, held_out_seed=seed)
        )
        ids = split.interactions.user_ids
        assert np.array_equal(split.validation.rows, split.test.rows)
        return set(ids[split.test.rows].tolist()), set(ids[split.train_rows].tolist())

    judged, training = who(table)
    assert 15 < len(judged) < 45
    assert len(judged) + len(training) == 60
    assert who(table.sample(frac=1, random_state=5)) == (judged, training)
    one = min(judged)
    assert who(table[table["user_id"].isin([one, *training])]) == ({one}, training)
    assert who(table, seed=2)[0] != judged


def test_global_time_skips_unsuitable_targets_one_by_one():
    rows = [(1, item, time) for time, item in enumerate([1, 2, 3, 4, 1, 2, 3, 4], start=1)]
    rows += [(2, 1, 2), (2, 4, 7), (2, 2, 10), (2, 50, 11), (2, 3, 12), (2, 1, 13)]
    rows += [(3, 1, 12)]  # no history before the cutoff
    split = make_split(interactions_of(rows), SplitConfig(name="global_time", quantile=0.75))
    assert (split.validation_cutoff, split.test_cutoff) == (7, 11)
    assert described(split, split.test)[2] == ([1, 4, 2], 3)  # 50 was never trained on
    assert described(split, split.validation) == {1: ([1, 2, 3, 4, 1, 2], 3), 2: ([1], 4)}


@settings(deadline=None)
@given(tables())
def test_the_target_hash_names_users_and_targets_and_nothing_else(interactions):
    assume(np.diff(interactions.offsets).max() >= 3)
    split = make_split(interactions, SplitConfig())
    again = make_split(interactions, SplitConfig())
    assert split.target_hash("test") == again.target_hash("test")
    assert len(split.target_hash("test")) == 16
    pairs = [(user, target) for user, (_, target) in described(split, split.test).items()]
    others = [(user, target) for user, (_, target) in described(split, split.validation).items()]
    assert (pairs == others) == (split.target_hash("test") == split.target_hash("validation"))


def test_the_target_hash_does_not_change_between_versions():
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    assert split.target_hash("test") == hashlib.sha256(b"[[1,13],[3,77]]").hexdigest()[:16]


def test_a_part_of_a_part_keeps_users_and_targets_together():
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    assert described(split, split.test.take(np.array([1]))) == {3: ([11, 10], 77)}
    assert len(split.test.take(split.test.rows == 0)) == 1
    assert split.test.take(np.array([1])).name == "test"


def test_bad_configurations_are_named():
    with pytest.raises(ValueError, match="unknown split 'leave_one_uot': did you mean 'leave_one_out'"):
        SplitConfig(name="leave_one_uot")
    with pytest.raises(ValueError, match="quantile must lie between 0 and 1, got 1"):
        SplitConfig(name="global_time", quantile=1.0)
    with pytest.raises(ValueError, match="num_targets must be at least 1, got 0"):
        SplitConfig(num_targets=0)
    with pytest.raises(ValueError, match="held_out_users is a share of all users, from 0 to below 1, got 1"):
        SplitConfig(held_out_users=1.0)
    split = make_split(interactions_of(THREE_USERS), SplitConfig())
    with pytest.raises(ValueError, match="unknown part 'tset': did you mean 'test'"):
        split.part("tset")


def test_a_configuration_survives_json():
    config = SplitConfig(name="global_time", quantile=0.9, refit=True)
    assert from_dict(SplitConfig, to_dict(config)) == config


def test_one_moment_for_all_interactions_has_no_time_split():
    with pytest.raises(ValueError, match="leaves no user"):
        make_split(interactions_of([(1, item, 5) for item in range(5)]), SplitConfig(name="global_time"))


def split_already(rows):
    """Interactions that come split: (user, item, time, part)."""
    return Interactions.from_table(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "part"]))


def test_leave_last_k_holds_out_two_futures_of_users_with_three_times_as_many():
    rows = [(1, item, item) for item in range(10, 17)] + [(2, item, item) for item in range(10, 15)]
    config = SplitConfig(name="leave_last_k", num_targets=2)
    split = make_split(interactions_of(rows), config)
    assert futures(split, split.validation) == {1: ([10, 11, 12], [13, 14], False)}
    assert futures(split, split.test) == {1: ([10, 11, 12, 13, 14], [15, 16], True)}
    assert trained(split) == {1: [10, 11, 12], 2: [10, 11, 12, 13, 14]}
    with pytest.raises(
        ValueError, match=r"at least 9 interactions, but no user has more than 7.*num_targets"
    ):
        make_split(interactions_of(rows), SplitConfig(name="leave_last_k", num_targets=3))


def test_parts_that_come_with_the_data_are_kept_as_they_are():
    rows = [(1, 10, 1, 0), (1, 11, 2, 1), (1, 12, 3, 1), (1, 13, 4, 2)]
    rows += [(2, 10, 1, 0), (2, 99, 2, 2), (2, 10, 3, 2)]  # nothing to validate
    rows += [(3, 11, 1, 2), (3, 10, 2, 2)]  # no history
    rows += [(4, 13, 1, 0)]
    split = make_split(split_already(rows), SplitConfig(name="from_files"))
    assert trained(split) == {1: [10], 2: [10], 4: [13]}
    assert futures(split, split.validation) == {1: ([10], [11, 12], True)}
    assert futures(split, split.test) == {1: ([10, 11, 12], [13], False), 2: ([10], [99, 10], True)}
    refit = make_split(split_already(rows), SplitConfig(name="from_files", refit=True))
    assert trained(refit) == {1: [10, 11, 12], 2: [10], 4: [13]}
    assert make_split(split_already(rows), SplitConfig()).test.rows.tolist() == [
        0,
        1,
    ]  # other rules do not ask for parts


def test_data_that_do_not_have_what_a_rule_needs_are_refused_with_the_reason():
    table = pd.DataFrame(THREE_USERS, columns=["user_id", "item_id", "timestamp"])
    with pytest.raises(
        ValueError, match="from_files needs data that come split into train, validation, test"
    ):
        make_split(Interactions.from_table(table), SplitConfig(name="from_files"))
    with pytest.raises(ValueError, match=r"global_time needs the time .* order alone: choose leave_one_out"):
        make_split(Interactions.from_table(table, is_dated=False), SplitConfig(name="global_time"))
    with pytest.raises(
        ValueError, match="user 2 has an interaction that comes before one of an earlier part"
    ):
        make_split(split_already([(1, 1, 1, 2), (2, 1, 1, 2), (2, 2, 2, 0)]), SplitConfig(name="from_files"))
    with pytest.raises(ValueError, match="from_files leaves no user with a history and a validation target"):
        make_split(split_already([(1, 1, 1, 0), (1, 1, 2, 2)]), SplitConfig(name="from_files"))
    with pytest.raises(ValueError, match="from_files leaves no user to train on"):
        make_split(split_already([(1, 1, 1, 1), (1, 1, 2, 2)]), SplitConfig(name="from_files"))


def test_an_item_that_only_users_held_out_have_is_unknown_to_training():
    rows = [
        (user, item, time)
        for user in range(20)
        for time, item in enumerate([1, 2, 100 + user, 1, 1, 100 + user, 2])
    ]
    config = SplitConfig(name="global_time", quantile=0.75, held_out_users=0.4)
    split = make_split(interactions_of(rows), config)
    judged, training = set(split.test.rows.tolist()), set(split.train_rows.tolist())
    assert judged.isdisjoint(training)
    assert len(judged) + len(training) == 20
    assert 2 < len(judged) < 14
    assert all(
        future == [2] for _, future, _ in futures(split, split.test).values()
    )  # 100 and beyond are skipped
    with pytest.raises(ValueError, match="held_out_users=1e-09 leaves no user with a history"):
        make_split(interactions_of(rows), SplitConfig(held_out_users=1e-9))
    with pytest.raises(ValueError, match=r"held_out_users=0.999999 leaves no user to train on"):
        make_split(interactions_of(rows), SplitConfig(held_out_users=0.999999))
