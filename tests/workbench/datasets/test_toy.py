import hashlib

import numpy as np
import pandas as pd
import pytest
import torch

from diffsasrec.evaluation import evaluate
from diffsasrec.interactions import Interactions
from diffsasrec.models import build_model
from diffsasrec.splits import SplitConfig, make_split
from diffsasrec.training import TrainConfig, fit
from workbench.datasets.toy import (
    ToyConfig,
    ToyOracle,
    generate,
    next_item_distribution,
    next_item_probabilities,
    world_of,
)

CONFIG = ToyConfig()


@pytest.fixture(scope="module")
def world():
    return generate(CONFIG)


@pytest.fixture(scope="module")
def interactions(world):
    return Interactions.from_table(world[0])


def by_the_formulas(history, config=CONFIG):
    """P(i | h) of the module docstring, item by item: {token: probability}."""
    items = world_of(config).items
    popularity = dict(enumerate(world_of(config).popularity, start=1))
    genre = dict(enumerate(items["categories"], start=1))
    part_of = {
        (row.series, row.part): token for token, row in enumerate(items.itertuples(), start=1) if row.part
    }
    unseen = [token for token in genre if token not in history]
    proceed = 0
    for token in history:
        row = items.iloc[token - 1]
        following = part_of.get((row["series"], row["part"] + 1), 0) if row["part"] else 0
        if following in unseen:
            proceed = following
    weight = {
        name: sum(popularity[token] for token in unseen if genre[token] == name)
        for name in set(genre.values())
    }
    count = {name: sum(genre[token] == name for token in history) for name in weight}
    total = sum(count[name] + config.genre_prior for name in weight if weight[name] > 0)
    a, u = (config.continue_probability if proceed else 0.0), config.uniform_probability
    probability = dict.fromkeys(genre, 0.0)
    for token in unseen:
        share = (count[genre[token]] + config.genre_prior) / total
        by_genre = share * popularity[token] / weight[genre[token]]
        probability[token] = a * (token == proceed) + (1 - a) * ((1 - u) * by_genre + u / len(unseen))
    return probability


def test_the_same_seed_gives_the_same_world_byte_for_byte(world):
    """These hashes change only with the process itself: then every run on the toy world is void."""
    hashes = [hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()[:16] for frame in world]
    assert hashes == ["0f5678141b75ddbb", "3e28e3ff5060f991"]


def test_another_seed_gives_another_world(world):
    table, items = generate(ToyConfig(seed=1))
    assert not table["item_id"].equals(world[0]["item_id"])
    assert not items["title"].equals(world[1]["title"])
    assert sorted(items["title"]) == sorted(world[1]["title"])


def test_the_world_has_the_promised_size(world):
    table, items = world
    assert len(items) == 304
    assert items["item_id"].is_monotonic_increasing
    assert table["user_id"].nunique() == 2000
    assert table["item_id"].nunique() == len(items), "every item was watched by somebody"
    lengths = table.groupby("user_id").size()
    assert (lengths.min(), lengths.max()) == (CONFIG.min_length, CONFIG.max_length)
    assert not table.duplicated(["user_id", "item_id"]).any(), "no item twice"


def test_two_years_pass_and_no_user_goes_back_in_time(world):
    table, _ = world
    assert (table.groupby("user_id")["timestamp"].diff().dropna() > 0).all()
    days = pd.to_datetime(table["timestamp"], unit="s")
    assert days.min() >= pd.Timestamp("2022-01-01")
    assert days.max() < pd.Timestamp("2024-01-01")
    assert days.max() - days.min() > pd.Timedelta(days=700)


def test_titles_say_series_and_part_and_are_all_different(world):
    _, items = world
    assert items["title"].is_unique
    series = items[items["part"] > 0]
    assert (series["title"] == series["series"] + " " + series["part"].astype(str)).all()
    assert "The Lighthouse Keepers 3" in set(items["title"])
    assert items.groupby("series")["categories"].nunique().drop("").eq(1).all()
    assert items["categories"].nunique() == 8


def test_the_probabilities_are_those_of_the_formulas(interactions):
    generator = np.random.default_rng(0)
    histories = [[], [1], list(range(1, 61))]
    for row in generator.integers(0, interactions.num_users, size=12):
        tokens = interactions.sequence(int(row))[0]
        histories.append(tokens[: generator.integers(1, len(tokens))].tolist())
    for history in histories:
        expected = by_the_formulas(history)
        found = next_item_probabilities(history)
        np.testing.assert_allclose(found, [expected[token] for token in range(1, 305)], rtol=1e-12, atol=0)


def test_probabilities_sum_to_one_and_seen_items_have_none(interactions):
    tokens = interactions.sequence(5)[0].astype(np.int64)
    for length in range(len(tokens)):
        probability = next_item_probabilities(tokens[:length])
        assert probability.sum() == pytest.approx(1.0, abs=1e-12)
        assert (probability[tokens[:length] - 1] == 0).all()
        assert probability[tokens[length] - 1] > 0


def test_a_series_goes_on_even_after_an_interruption():
    items = world_of(CONFIG).items
    token_of = {title: token for token, title in enumerate(items["title"], start=1)}
    first, second, third = (token_of[f"Captain Juniper {part}"] for part in (1, 2, 3))
    single, other = token_of["The Silent Witness"], token_of["Orbit of Dust 1"]
    a = CONFIG.continue_probability

    def likely(*history):
        probability = next_item_probabilities(history)
        return int(np.argmax(probability)) + 1, probability.max()

    assert likely(first)[0] == second
    assert likely(first)[1] > a
    assert likely(first, single)[0] == second
    assert likely(first, other)[0] == token_of["Orbit of Dust 2"]
    assert likely(first, second)[0] == third
    assert likely(second, first)[0] == third, "part 2 is seen, so its own successor is next"
    assert next_item_probabilities([single]).max() < a


def test_a_genre_that_is_used_up_leaves_its_share_to_the_others():
    world = world_of(CONFIG)
    horror = (np.flatnonzero(world.items["categories"] == "Horror") + 1).tolist()
    probability = next_item_probabilities(horror)
    assert probability.sum() == pytest.approx(1.0, abs=1e-12)
    assert (probability[np.array(horror) - 1] == 0).all()


def test_padding_and_the_batch_change_nothing(interactions):
    short, long = (interactions.sequence(row)[0].astype(np.int64) for row in (3, 4))
    width = max(len(short), len(long)) + 2
    batch = np.stack([np.pad(tokens, (width - len(tokens), 0)) for tokens in (short, long)])
    both = next_item_distribution(batch, CONFIG)
    assert np.array_equal(both[0], next_item_probabilities(short))
    assert np.array_equal(both[1], next_item_probabilities(long))


def test_the_generated_users_follow_the_probabilities(interactions):
    """A Monte-Carlo check over all 55,000 draws: how often the ten likeliest items came, and the single likeliest."""
    expected, variance, found = np.zeros(2), np.zeros(2), np.zeros(2)
    surprise, mean_surprise, variance_surprise = 0.0, 0.0, 0.0
    for length in range(CONFIG.max_length):
        rows = np.flatnonzero(np.diff(interactions.offsets) > length)
        index = interactions.offsets[rows][:, None] + np.arange(length)
        probability = next_item_distribution(interactions.tokens[index].astype(np.int64), CONFIG)
        column = interactions.tokens[interactions.offsets[rows] + length] - 1
        drawn = probability[np.arange(len(rows)), column]
        ordered = -np.sort(-probability, axis=1)
        for place, size in enumerate((1, 10)):
            mass = ordered[:, :size].sum(axis=1)
            expected[place] += mass.sum()
            variance[place] += (mass * (1 - mass)).sum()
            found[place] += (drawn >= ordered[:, size - 1]).sum()
        logarithm = np.log(probability, where=probability > 0, out=np.zeros_like(probability))
        entropy = -(probability * logarithm).sum(axis=1)
        surprise -= np.log(drawn).sum()
        mean_surprise += entropy.sum()
        variance_surprise += ((probability * logarithm**2).sum(axis=1) - entropy**2).sum()
    assert (np.abs(found - expected) < 4 * np.sqrt(variance)).all()
    assert abs(surprise - mean_surprise) < 4 * np.sqrt(variance_surprise)


def test_first_items_follow_the_probabilities_one_by_one():
    config = ToyConfig(num_users=20_000, min_length=1, max_length=1)
    table, items = generate(config)
    expected = next_item_probabilities([], config=config) * len(table)
    counts = table["item_id"].value_counts().reindex(items["item_id"], fill_value=0).to_numpy()
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = len(items) - 1
    assert abs(chi_square - freedom) < 4 * np.sqrt(2 * freedom)


def test_the_oracle_scores_by_the_logarithm_of_the_probabilities(interactions):
    oracle = ToyOracle(CONFIG)
    assert (oracle.num_items, oracle.trainable, oracle.max_length) == (304, False, CONFIG.max_length)
    tokens = interactions.sequence(7)[0].astype(np.int64)
    history = torch.from_numpy(np.pad(tokens, (3, 0)))[None]
    logits = oracle.next_item_logits(history)
    assert torch.equal(logits[0].exp() > 0, torch.from_numpy(next_item_probabilities(tokens) > 0))
    torch.testing.assert_close(logits[0].exp(), torch.from_numpy(next_item_probabilities(tokens)))
    assert float(logits.logsumexp(dim=1)) == pytest.approx(0.0, abs=1e-12)


def test_the_oracle_knows_a_world_in_which_not_every_item_was_watched():
    config = ToyConfig(num_users=20)
    interactions = Interactions.from_table(generate(config)[0])
    assert interactions.num_items < 304
    oracle = ToyOracle(config, interactions.vocabulary.item_ids)
    tokens = interactions.sequence(0)[0].astype(np.int64)
    logits = oracle.next_item_logits(torch.from_numpy(tokens)[None])
    in_world = interactions.vocabulary.decode(tokens) - 1000  # ids start at 1001
    expected = next_item_probabilities(in_world, config=config)[interactions.vocabulary.item_ids - 1001]
    torch.testing.assert_close(logits[0].exp(), torch.from_numpy(expected))


def test_there_is_much_to_gain_over_popularity_and_no_certainty(interactions):
    split = make_split(interactions, SplitConfig())
    popularity = build_model("popularity", {}, interactions.num_items)
    popularity.count(split)
    oracle = evaluate(ToyOracle(CONFIG, interactions.vocabulary.item_ids), split, "test").figures
    popular = evaluate(popularity, split, "test").figures
    assert 0.5 < oracle["HR@10"]["value"] < 0.7
    assert popular["HR@10"]["value"] < 0.15
    assert not split.test.cold.any()


def test_sasrec_reaches_most_of_the_oracle_and_no_model_beats_it(interactions, tmp_path):
    split = make_split(interactions, SplitConfig())
    best = evaluate(ToyOracle(CONFIG, interactions.vocabulary.item_ids), split, "test").figures["NDCG@10"]
    sasrec = build_model("sasrec", {"dropout": 0.1}, interactions.num_items)
    config = TrainConfig(max_epochs=7, learning_rate=3e-3, batch_size=64, max_validation_users=200)
    fit(sasrec, split, config, folder=tmp_path)
    popularity = build_model("popularity", {}, interactions.num_items)
    popularity.count(split)
    reached = {}
    for name, model in (("sasrec", sasrec), ("popularity", popularity)):
        reached[name] = evaluate(model, split, "test").figures["NDCG@10"]["value"]
        assert reached[name] < best["high"]
    assert reached["sasrec"] > 0.65 * best["value"] > 4 * reached["popularity"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_users": 0}, "num_users must be at least 1, got 0"),
        ({"min_length": 9, "max_length": 8}, "got 9 and 8"),
        ({"max_length": 101}, "got 12 and 101"),
        ({"continue_probability": 1.0}, r"continue_probability must lie in \[0, 1\), got 1.0"),
        ({"uniform_probability": -0.1}, "uniform_probability"),
        ({"genre_prior": 0.3}, "multiple of 1/4, got 0.3"),
    ],
)
def test_an_impossible_world_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ToyConfig(**options)
