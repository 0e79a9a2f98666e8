"""The language models in torch: what each place may see, tied weights, tiers, and the order of training."""

import itertools

import msgspec
import numpy as np
import pytest
import safetensors.torch
import torch
from helpers.made_up import AUTH_HEADER, auth_rows
from torch import nn

from agent.errors import ConfigError
from agent.text.tokenizers import BEGIN, END, PAD
from training.config import TokenizerConfig, load
from training.data.corpus import Corpus
from training.fitting.job import Job, run_job
from training.fitting.loop import _set_rate
from training.fitting.run_folder import load_run
from training.models import CONFIGS, language_model
from training.models.base import Stage, TrainingData
from training.models.examples import StreamSteps, TextExamples
from training.models.language_model.config import LanguageModelConfig, LanguageModelRunConfig
from training.models.language_model.networks import LanguageModel, LineLoss, StreamLoss
from training.models.layers import Attention, Recurrent, TierSummary, reverse

VOCABULARY, MOST = 20, 9
LENGTHS = torch.tensor([9, 5, 1])
ONE_WAY = {
    "EM": {},
    "EM of two layers": {"layers": 2, "residual": True},
    "EM gru": {"cell": "gru"},
    "EM rnn": {"cell": "rnn"},
    "fixed": {"attention": "fixed"},
    "syntax": {"attention": "syntax"},
    "semantic1": {"attention": "semantic1"},
    "semantic2": {"attention": "semantic2"},
    "transformer": {"architecture": "transformer", "layers": 2, "heads": 2},
    "T-EM": {"tier": "mean"},
    "TA-EM": {"tier": "attention"},
}
BOTH_WAYS = {
    "BEM": {"bidirectional": True},
    "BEM of two layers": {"bidirectional": True, "layers": 2, "residual": True},
    "T-BEM": {"bidirectional": True, "tier": "mean"},
    "TA-BEM": {"bidirectional": True, "tier": "attention"},
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(**settings):
    sizes = {"embedding": 8, "hidden": 6, "context": 5, "keys": 4}
    model = LanguageModel(LanguageModelConfig(**sizes | settings), VOCABULARY, MOST).eval()
    for parameter in model.parameters():  # larger than at the beginning, so that each input shows in each output
        nn.init.normal_(parameter, std=0.7)
    return model


def lines(draw=0):
    ids = torch.randint(4, VOCABULARY, (3, MOST), generator=torch.Generator().manual_seed(draw))
    return torch.where(torch.arange(MOST) < LENGTHS[:, None], ids, PAD)


def state(model, scale=0.5):
    return [scale * torch.randn(3, 5) for _ in range(2)] if model.upper is not None else []


def with_token(ids, place):
    """The same lines but for the token at a place."""
    other = ids.clone()
    other[:, place] = torch.where(ids[:, place] == PAD, PAD, 4 + (ids[:, place] - 4 + 1) % (VOCABULARY - 4))
    return other


@pytest.mark.parametrize("settings", ONE_WAY.values(), ids=ONE_WAY)
@pytest.mark.parametrize("place", range(MOST))
@torch.no_grad()
def test_a_token_changes_no_prediction_up_to_its_own(settings, place):
    model, ids = make(**settings), lines()
    carried = state(model)
    before, after = (model(one, LENGTHS, *carried)[1] for one in (ids, with_token(ids, place)))
    assert torch.equal(before[:, : place + 1], after[:, : place + 1])
    assert not torch.allclose(before[0, place + 1], after[0, place + 1])


@pytest.mark.parametrize("settings", BOTH_WAYS.values(), ids=BOTH_WAYS)
@pytest.mark.parametrize("place", range(MOST))
@torch.no_grad()
def test_both_ways_a_token_changes_every_prediction_but_its_own(settings, place):
    model, ids = make(**settings), lines()
    carried = state(model)
    before, after = (model(one, LENGTHS, *carried)[1] for one in (ids, with_token(ids, place)))
    torch.testing.assert_close(before[:, place], after[:, place], rtol=0, atol=0)
    for other in set(range(MOST)) - {place}:
        assert not torch.equal(before[0, other], after[0, other]), other


@pytest.mark.parametrize("kind", ["fixed", "syntax", "semantic1", "semantic2", "transformer"])
@torch.no_grad()
def test_a_later_token_changes_no_earlier_weight_of_attention(kind):
    settings = {"architecture": "transformer"} if kind == "transformer" else {"attention": kind}
    model, ids = make(**settings), lines()
    weights = model(ids, LENGTHS)[2]
    own = kind == "transformer"
    sums = (torch.arange(MOST + 1) <= LENGTHS[:, None]).float()
    sums[:, 0] = 1.0 if own else 0.0  # nothing is before the beginning
    torch.testing.assert_close(weights.sum(2), sums)
    assert not weights.triu(1 if own else 0).any()
    for place in range(MOST):
        changed = model(with_token(ids, place), LENGTHS)[2]
        assert torch.equal(weights[:, : place + 1], changed[:, : place + 1])
    assert weights[0, 5, :5].std() > 0


@pytest.mark.parametrize("settings", [*ONE_WAY.values(), *BOTH_WAYS.values()], ids=[*ONE_WAY, *BOTH_WAYS])
@torch.no_grad()
def test_losses_are_those_of_the_tokens_and_padding_changes_nothing(settings):
    model, ids = make(**settings), lines()
    carried = state(model)
    losses, logs, *rest = model(ids, LENGTHS, *carried)
    both = settings.get("bidirectional", False)
    for row, length in enumerate(LENGTHS.tolist()):
        targets = ids[row, :length].tolist() + ([] if both else [END])
        expected = -logs[row, range(len(targets)), targets]
        torch.testing.assert_close(losses[row, : len(targets)], expected)
        torch.testing.assert_close(logs[row, : len(targets)].exp().sum(1), torch.ones(len(targets)))
        assert not logs[row, len(targets) :].any()
        assert not losses[row, len(targets) :].any()
        alone = model(ids[row : row + 1, :length], LENGTHS[row : row + 1], *(one[row : row + 1] for one in carried))
        torch.testing.assert_close(alone[0][0], losses[row, : len(targets)])
        for one, other in zip(alone[-len(carried) :], rest[-len(carried) :], strict=True) if carried else ():
            torch.testing.assert_close(one[0], other[row])


@torch.no_grad()
def test_the_event_model_is_the_softmax_of_the_state_before():
    """EM against torch's own LSTM, step by step."""
    model, ids = make(), lines()
    logs = model(ids[:1], LENGTHS[:1])[1][0]
    layer = model.lower.layers.layers[0].layer
    hidden = None
    for place, token in enumerate([BEGIN, *ids[0].tolist()]):
        outputs, hidden = layer(model.embedding(torch.tensor([[token]])), hidden)
        decoder = model.lower.decoder
        torch.testing.assert_close(logs[place], (outputs[0, 0] @ decoder.weight.T + decoder.bias).log_softmax(0))


@torch.no_grad()
def test_attention_is_what_the_paper_says():
    """Semantic attention 1 of one place, written out: K = tanh(V Wa), q = tanh(h Wq), d = softmax(q K^T), a = d V."""
    attention, states = Attention("semantic1", 6, 4, 10), torch.randn(1, 5, 6)
    found, weights = attention(states)
    before = states[0, :3]
    keys = torch.tanh(before @ attention.keys.weight.T)
    d = torch.softmax(torch.tanh(states[0, 3] @ attention.queries.weight.T) @ keys.T, 0)
    torch.testing.assert_close(weights[0, 3, :3], d)
    torch.testing.assert_close(found[0, 3], d @ before)


@torch.no_grad()
def test_fixed_attention_has_one_query_and_syntax_one_for_each_place():
    states = torch.randn(1, 1, 6).expand(1, 5, 6)  # equal states: only the query can tell places apart
    assert Attention("fixed", 6, 4, 10).query.shape == (1, 4) and Attention("syntax", 6, 4, 10).query.shape == (10, 4)
    for kind in ("fixed", "syntax"):
        weights = Attention(kind, 6, 4, 10)(states)[1][0]
        torch.testing.assert_close(weights[4, :4], torch.full((4,), 0.25))
    mixed, syntax, fixed = torch.randn(1, 5, 6), Attention("syntax", 6, 4, 10), Attention("fixed", 6, 4, 10)
    ratios = [
        (attention(mixed)[1][0, place, 0] / attention(mixed)[1][0, place, 1]).item()
        for attention in (fixed, syntax)
        for place in (2, 4)
    ]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-4) and ratios[2] != pytest.approx(ratios[3], rel=1e-3)


@torch.no_grad()
def test_the_second_semantic_query_is_a_part_of_the_state():
    model = make(attention="semantic2")
    assert model.lower.layers.layers[0].layer.hidden_size == 6 + 4
    assert model.lower.decoder.weight.shape[1] == 2 * 6
    assert not any(name.endswith(("query", "queries.weight")) for name, _ in model.named_parameters())


@torch.no_grad()
def test_a_line_is_summed_up_by_the_mean_or_the_attention_of_its_states_and_the_final_one():
    states, final, lengths = torch.randn(2, 4, 6), torch.randn(2, 6), torch.tensor([4, 2])
    seen, weights = TierSummary("mean", 6)(states, final, lengths)
    torch.testing.assert_close(seen, torch.cat([torch.stack([states[0].mean(0), states[1, :2].mean(0)]), final], 1))
    assert weights.tolist() == [[0.25] * 4, [0.5, 0.5, 0, 0]]
    summary = TierSummary("attention", 6)
    seen, weights = summary(states, final, lengths)
    keys, query = torch.tanh(states[1, :2] @ summary.keys.weight.T), torch.tanh(final[1] @ summary.query.weight.T)
    d = torch.softmax(keys @ query, 0)
    torch.testing.assert_close(weights[1], torch.cat([d, torch.zeros(2)]))
    torch.testing.assert_close(seen[1], torch.cat([d @ states[1, :2], final[1]]))


@pytest.mark.parametrize("tier", ["mean", "attention"])
@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_the_context_of_a_stream_changes_its_next_line_and_is_changed_by_every_token(tier, bidirectional):
    model, ids = make(tier=tier, bidirectional=bidirectional), lines()
    carried = state(model)
    losses, *_, hidden, cell = model(ids, LENGTHS, *carried)
    assert not torch.allclose(losses, model(ids, LENGTHS, carried[0] + 1, carried[1])[0])
    torch.testing.assert_close(losses, model(ids, LENGTHS, carried[0], carried[1] + 1)[0])  # the cell is not seen
    for place in range(MOST):
        assert not torch.equal(hidden[0], model(with_token(ids, place), LENGTHS, *carried)[-2][0])
    assert hidden.shape == cell.shape == (3, 5)


@pytest.mark.parametrize(
    "settings", [{"embedding": 6}, {}, {"bidirectional": True}, {"attention": "fixed"}, {"architecture": "transformer"}]
)
def test_tied_weights_are_one_storage_also_after_training_and_loading(settings):
    model = make(tie=True, **settings)
    decoder, embedding = model.lower.decoder, model.embedding
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    before = embedding.weight.detach().clone()
    model.train()
    loss, _ = LineLoss(model)(lines(), LENGTHS, torch.ones(3))
    loss.backward()
    optimizer.step()
    assert decoder.weight is embedding.weight and not torch.equal(before[4:], embedding.weight[4:])
    content = safetensors.torch.save({name: value.clone() for name, value in model.state_dict().items()})
    other = make(tie=True, **settings)
    other.load_state_dict(safetensors.torch.load(content))
    assert other.lower.decoder.weight.data_ptr() == other.embedding.weight.data_ptr()
    assert torch.equal(other.embedding.weight, embedding.weight)
    assert make(**settings).lower.decoder.weight.data_ptr() != make(**settings).embedding.weight.data_ptr()
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted < sum(parameter.numel() for parameter in make(**settings).parameters())


def test_reversing_turns_the_real_part_round():
    x = torch.arange(10.0).reshape(2, 5, 1)
    assert reverse(x, torch.tensor([5, 3]))[:, :, 0].tolist() == [[4, 3, 2, 1, 0], [7, 6, 5, 8, 9]]


@pytest.mark.parametrize("cell", ["gru", "rnn"])
@pytest.mark.parametrize("bidirectional", [False, True])
@torch.no_grad()
def test_every_cell_is_torchs_and_the_operator_too(cell, bidirectional):
    layer, x, lengths = Recurrent(5, 4, bidirectional, cell), torch.randn(3, 6, 5), torch.tensor([6, 2, 1])
    outputs, states = layer(x, lengths)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ends = ("_l0", "_l0_reverse")[: 1 + bidirectional]
    weight, recurrent, *biases = (torch.stack([getattr(layer.layer, name + end) for end in ends]) for name in names)
    arguments = (x, lengths, weight, recurrent, torch.cat(biases, 1), cell)
    for one, other in zip((outputs, states), torch.ops.oddline.recurrent(*arguments), strict=True):
        torch.testing.assert_close(one, other)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(outputs[row, :length], layer.layer(x[row : row + 1, :length])[0][0])


def test_residuals_add_the_input_where_widths_agree():
    model = make(layers=2, residual=True)
    layers, x = model.lower.layers, torch.randn(1, 3, 8)
    first, _ = layers.layers[0](x)
    second, _ = layers.layers[1](first)
    torch.testing.assert_close(layers(x), first + second)  # 8 to 6: none around the first


@pytest.mark.parametrize(
    ("override", "named"),
    [
        (
            "model.architecture=transformer model.bidirectional=true",
            "architecture: transformer does not go with bidirectional",
        ),
        ("model.architecture=transformer model.tier=mean", "architecture: transformer does not go with tier"),
        ("model.attention=fixed model.tier=mean", "attention: fixed does not go with tier"),
        ("model.attention=fixed model.bidirectional=true", "attention: fixed does not go with bidirectional"),
        ("model.architecture=transformer model.embedding=32 model.heads=3", "embedding 32 is no multiple of heads 3"),
        ("model.cell=quantum", "choose one of gru, lstm, rnn"),
        ("window.size=10", "window: unknown key"),
        ("reduce=median", "choose one of max, mean, sum"),
        ("model.decay=1.5", "model.decay"),
    ],
)
def test_what_does_not_go_together_is_refused(override, named):
    with pytest.raises(ConfigError, match=named):
        load(CONFIGS, None, override.split(), {"family": "language-model"})


def data(ids, streams):
    """Six texts of which text n has the tokens 4 to 3 + n."""
    tokens = np.where(np.arange(6) < np.arange(7)[:, None], np.arange(4, 10), 0).astype(np.int32)
    lengths = np.arange(7)
    corpus = Corpus(
        [""] * 7, np.array(ids, np.int32), np.array(streams, np.int32), np.zeros(len(ids), np.int8), None, None,
        [b"%d" % stream for stream in range(max(streams) + 1)], [], None,
    )  # fmt: skip
    return TrainingData(corpus, corpus, tokens, lengths), corpus


def test_steps_take_every_stream_from_its_first_line_to_its_last():
    draw = np.random.default_rng(3)
    streams = draw.integers(0, 7, 60).tolist()
    ids = draw.integers(1, 7, 60).tolist()
    material, corpus = data(ids, streams)
    steps = StreamSteps(material, corpus, 3)
    for size, order in itertools.product((1, 2, 5, 99), (None, np.random.default_rng(1))):
        seen = {stream: [] for stream in range(7)}
        batches = steps.plan(size, order)
        for rows in batches:
            assert 0 < len(rows) <= size
            _, lengths, which, fresh = steps.batch(rows)
            assert len(set(which.tolist())) == len(which)
            for row, stream in enumerate(which.tolist()):
                assert bool(fresh[row]) == (not seen[stream])
                seen[stream] += [length for length in lengths[row].tolist() if length]
        assert seen == {one: [i for i, s in zip(ids, streams, strict=True) if s == one] for one in range(7)}
    orders = [np.concatenate(steps.plan(2, np.random.default_rng(one))).tolist() for one in (1, 2)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == list(range(len(steps)))


def test_a_long_stream_is_cut_into_several_that_begin_from_nothing():
    material, corpus = data([1, 2, 3, 4, 5, 6, 1, 2], [0, 1, 0, 0, 0, 0, 1, 0])
    steps = StreamSteps(material, corpus, 2, 2)
    (first, *later) = [steps.batch(rows) for rows in steps.plan(9, None)]
    assert first[1].tolist() == [[1, 3], [6, 2], [2, 1]] and first[3].all()  # stream 0, its rest, stream 1
    assert [batch[1].tolist() for batch in later] == [[[4, 5]]] and not later[0][3].any()
    assert len(set(first[2].tolist())) == 3 and later[0][2].tolist() == [first[2][0]]


@pytest.mark.parametrize("tier", ["mean", "attention"])
@torch.no_grad()
def test_training_along_streams_carries_what_the_graph_carries(tier):
    """The losses of the training module are those of one line after the other through `forward`."""
    model = make(tier=tier)
    ids, streams = [1, 5, 2, 6, 3, 3, 4, 1, 2], [0, 1, 0, 0, 1, 0, 0, 2, 0]
    material, corpus = data(ids, streams)
    steps, module = StreamSteps(material, corpus, 2), StreamLoss(model, 3, 5)
    totals = [module(*steps.batch(rows)) for rows in steps.plan(2, None)]
    again = [module(*steps.batch(rows)) for rows in steps.plan(2, None)]  # an epoch starts from nothing
    found = [float(sum(loss for loss, _ in some)) for some in (totals, again)]
    expected, carried = 0.0, {}
    for text, stream in zip(ids, streams, strict=True):
        zeros = (torch.zeros(1, 5), torch.zeros(1, 5))
        tokens = torch.from_numpy(material.tokens[text : text + 1, :text].astype(np.int64))
        losses, *_, hidden, cell = model(tokens, torch.tensor([text]), *carried.get(stream, zeros))
        carried[stream] = hidden, cell
        expected += float(losses.sum())
    assert found == pytest.approx([expected, expected], rel=1e-5)
    assert sum(int(count) for _, count in totals) == sum(ids) + len(ids)  # the ends count


def test_one_stage_with_a_plan_where_states_are_carried():
    material, _ = data([1, 2, 3, 4], [0, 0, 1, 1])
    for settings, examples in (({}, TextExamples), ({"tier": "mean"}, StreamSteps)):
        config = LanguageModelRunConfig(family="language-model", model=LanguageModelConfig(**settings))
        (stage,) = language_model.stages(config, language_model.build(config, 30), material)
        assert isinstance(stage, Stage) and stage.name == "model"
        assert isinstance(stage.train, examples) and isinstance(stage.validation, examples)
        of_streams = (stage.train.plan, stage.validation.plan) if examples is StreamSteps else None
        assert stage.plans == of_streams


def test_the_learning_rate_decays():
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))], 1.0)
    settings = LanguageModelConfig(learning_rate=0.1, decay=0.5, decay_steps=20)
    rates = []
    for step in (0, 19, 20, 59, 60):
        _set_rate(optimizer, settings, step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.1, 0.05, 0.025, 0.0125]


@pytest.mark.parametrize("tier", ["none", "mean"])
def test_training_lowers_the_loss_and_goes_on_after_an_interruption_as_if_it_had_none(tmp_path, monkeypatch, tier):
    (tmp_path / "log").write_bytes(b"".join(auth_rows(300)))
    content = {
        "family": "language-model",
        "header": AUTH_HEADER,
        "stream": r"^[^,]*,([^,]+)",
        "model": {
            "tier": tier,
            "embedding": 8,
            "hidden": 8,
            "epochs": 3,
            "batch_size": 4,
            "learning_rate": 0.01,
            "decay": 0.9,
        },
    }
    (tmp_path / "c.yaml").write_bytes(msgspec.yaml.encode(content))

    def job(out):
        return Job([tmp_path / "log"], out, tmp_path / "c.yaml", (), {}, None, None, None, "cpu", 1, False)

    whole = run_job(job(tmp_path / "whole"))
    losses = [epoch["validation"] for epoch in whole["epochs"]]
    assert losses[-1] < losses[0] < np.log(TokenizerConfig().max_vocabulary)
    from training.fitting import loop

    real, calls = loop._epoch, []

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(loop, "_epoch", stop)
    with pytest.raises(BaseException):  # noqa: B017
        run_job(job(tmp_path / "cut"))
    monkeypatch.setattr(loop, "_epoch", real)
    run_job(job(tmp_path / "cut"))
    one, other = (load_run(tmp_path / name).model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_validation_is_the_last_lines_whatever_their_stream(tmp_path):
    rows = auth_rows(100)
    (tmp_path / "log").write_bytes(b"".join(rows))
    content = {"family": "language-model", "header": AUTH_HEADER, "stream": r"^[^,]*,([^,]+)", "model": {"epochs": 1}}
    (tmp_path / "c.yaml").write_bytes(msgspec.yaml.encode(content))
    options = (tmp_path / "run", tmp_path / "c.yaml", ("model.batch_size=8",), {}, None, None, None, "cpu", 1, False)
    run_job(Job([tmp_path / "log"], *options))
    run = load_run(tmp_path / "run")
    texts = [run.texts[text] for text in run.heldout["ids"].tolist()]
    assert texts == [row.decode().strip().partition(",")[2] for row in rows[80:]]


def test_a_tiered_model_trains_on_one_device(tmp_path):
    (tmp_path / "log").write_bytes(b"".join(auth_rows(100)))
    settings = ("model.tier=mean", "model.batch_size=8")
    options = (tmp_path / "run", None, settings, {"family": "language-model"}, None, None, None, "cpu", 2, False)
    with pytest.raises(ConfigError, match="--devices 2: a tiered model carries"):
        run_job(Job([tmp_path / "log"], *options))
