"""Tiny random backbones, built here in milliseconds: no network, no downloads, the same weights every time."""

from __future__ import annotations

import logging
import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any import that reads it
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import functools
import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jinja2
import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers import models as token_models
from tokenizers import processors as token_processors

from dse import DSE

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

WORDS = """
a an the red blue green old new small large big bicycle bike tent house river cat dog man woman child bird car
train city garden book is was are sits runs sleeps plays rides reads eats buys sells sees in on under near
over by with and or not of to from very slowly quickly today yesterday never two three many people children
who what where how
""".split()
PIECES = ["##s", "##ing", "##ed", "##er", "."]  # WordPiece continuations and a full stop

SENTENCES = [
    "a red bicycle",
    "the blue tent is near the river",
    "two children play in the garden today.",
    "a man reads",
    "the old woman sits by the river and reads a new book",
    "bike",
    "a dog runs quickly over the small house and the cat sleeps under the large car near the old train in the city.",
    "who sells the green bicycle",
    "zebra quux",  # unknown words
    "many people are never in the new city.",
    "the cat sees a bird and the bird sees the cat and the dog sees the bird",
    "",
]


def _word_ids(*special: str) -> dict[str, int]:
    return {token: i for i, token in enumerate([*special, *WORDS, *PIECES])}


def _unigram(*special: str) -> list[tuple[str, float]]:
    tokens = [*(f"▁{word}" for word in WORDS), "▁", *(piece.removeprefix("##") for piece in PIECES)]
    return [*((token, 0.0) for token in special), *((token, -2.0) for token in tokens)]


def _bert_tokenizer() -> transformers.PreTrainedTokenizerBase:
    return transformers.BertTokenizer(vocab=_word_ids("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))


def _roberta_tokenizer() -> transformers.PreTrainedTokenizerBase:
    bpe = Tokenizer(token_models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # the ids of RoBERTa: padding is 1, which sets its positions
    trainer = trainers.BpeTrainer(vocab_size=150, special_tokens=special, show_progress=False)
    bpe.train_from_iterator(SENTENCES, trainer)
    model = json.loads(bpe.to_str())["model"]
    return transformers.RobertaTokenizer(vocab=model["vocab"], merges=[tuple(merge) for merge in model["merges"]])


def _mpnet_tokenizer() -> transformers.PreTrainedTokenizerBase:
    return transformers.MPNetTokenizer(vocab=_word_ids("<s>", "<pad>", "</s>", "[UNK]", "<mask>"))


def _deberta_tokenizer() -> transformers.PreTrainedTokenizerBase:
    return transformers.DebertaV2Tokenizer(vocab=_unigram("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), unk_id=1)


def _modernbert_tokenizer() -> transformers.PreTrainedTokenizerBase:
    vocabulary = _word_ids("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    words = Tokenizer(token_models.WordPiece(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = token_processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "attention_mask"],
    )


def _xlnet_tokenizer() -> transformers.PreTrainedTokenizerBase:
    special = ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")  # the ids of XLNet
    return transformers.XLNetTokenizer(vocab=_unigram(*special), padding_side="left")


# Wide random weights: with the usual 0.02 every token would look alike and no test could tell two mistakes apart.
_COMMON = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "initializer_range": 0.4}
_WIDE = _COMMON | {"intermediate_size": 32, "max_position_embeddings": 66}
_BUILDERS: dict[str, tuple[Callable[[], transformers.PreTrainedTokenizerBase], type, dict[str, object]]] = {
    "bert": (_bert_tokenizer, transformers.BertConfig, _WIDE | {"hidden_size": 8, "num_hidden_layers": 5}),
    "roberta": (_roberta_tokenizer, transformers.RobertaConfig, _WIDE | {"type_vocab_size": 1}),
    "distilbert": (
        _bert_tokenizer,
        transformers.DistilBertConfig,
        {"dim": 16, "hidden_dim": 32, "n_layers": 4, "n_heads": 2, "max_position_embeddings": 64}
        | {"initializer_range": 0.4},
    ),
    "mpnet": (_mpnet_tokenizer, transformers.MPNetConfig, _WIDE),
    "electra": (_bert_tokenizer, transformers.ElectraConfig, _WIDE | {"embedding_size": 8}),
    "deberta-v2": (
        _deberta_tokenizer,
        transformers.DebertaV2Config,
        _WIDE
        | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8, "pooler_hidden_size": 16},
    ),
    "modernbert": (
        _modernbert_tokenizer,
        transformers.ModernBertConfig,
        _WIDE
        | {"local_attention": 8, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}
        | {"bos_token_id": 2, "eos_token_id": 3},
    ),
    "xlnet": (
        _xlnet_tokenizer,
        transformers.XLNetConfig,
        {"d_model": 16, "n_layer": 4, "n_head": 2, "d_inner": 32, "initializer_range": 0.4},
    ),
}
BACKBONES = tuple(_BUILDERS)
backbones = pytest.mark.parametrize("name", BACKBONES)


def build_backbone(name: str, folder: Path) -> str:
    """Save a random backbone of one of the eight architectures, with its tokenizer."""
    make_tokenizer, config_class, sizes = _BUILDERS[name]
    tokenizer = make_tokenizer()
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(20)
        model = transformers.AutoModel.from_config(config_class(**(sizes | ids)))
        for module in model.modules():  # biases and norms of zero and one would hide a mistake too
            if isinstance(module, torch.nn.LayerNorm | torch.nn.Linear) and module.bias is not None:
                torch.nn.init.normal_(module.bias, std=0.1)
    model.save_pretrained(folder)
    tokenizer.model_max_length = 64
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_student(folder: str, *, seed: int = 0, **kwargs: object) -> DSE:
    """A student in float32 with the same random head every time; its head is wide enough to say something."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        student = DSE.from_backbone(folder, **({"dtype": "float32", "head_dimension": 24, "device": "cpu"} | kwargs))
    student.model_card_data.generate_widget_examples = False
    return student


@pytest.fixture(scope="session", autouse=True)
def _light_training() -> Iterator[None]:
    """What takes longer than a tiny model trains, done once.

    Every checkpoint has a model card, whose template is compiled; every training collects garbage, through all that
    was ever imported.
    """
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2, "Template", functools.cache(jinja2.Template))
        yield


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Name of an architecture -> folder of its backbone, built when first asked for."""
    root, made = tmp_path_factory.mktemp("backbones"), {}

    def folder(name: str) -> str:
        if name not in made:
            made[name] = build_backbone(name, root / name)
        return made[name]

    return folder


@pytest.fixture(scope="session")
def backbone(models: Callable[[str], str]) -> str:
    """A BERT of five layers and eight dimensions: four layers side by side give d = 32."""
    return models("bert")


@pytest.fixture
def student(backbone: str) -> DSE:
    """A fresh student, one label, float32, d = 32."""
    return make_student(backbone)


@pytest.fixture
def teacher(backbone: str) -> CrossEncoder:
    """A fresh cross-encoder on the same backbone."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return CrossEncoder(backbone, num_labels=1, device="cpu")


@pytest.fixture(scope="session")
def encoder(backbone: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a sentence encoder on the same backbone, as sentence-transformers saves one."""
    folder = str(tmp_path_factory.mktemp("encoder") / "model")
    transformer = Transformer(backbone)
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save_pretrained(folder)
    return folder


@pytest.fixture
def sentences() -> list[str]:
    """Twelve distinct sentences from none to two dozen tokens, not sorted; one has unknown words only."""
    return list(SENTENCES)


@pytest.fixture
def pairs(sentences: list[str]) -> list[tuple[str, str]]:
    """Ten pairs; sentences repeat, one pair is of a sentence with itself, one is another turned round."""
    rows = [(0, 1), (1, 0), (2, 2), (3, 7), (6, 4), (5, 9), (8, 10), (11, 3), (0, 7), (10, 6)]
    return [(sentences[i], sentences[j]) for i, j in rows]


@pytest.fixture
def transfer_data(tmp_path: Path) -> Path:
    """A folder with one data set of labelled sentences, as `dse transfer` reads it."""
    folder = tmp_path / "transfer"
    (folder / "cr").mkdir(parents=True)
    rows = [f"{sentence},{i % 2}" for i, sentence in enumerate([s for s in SENTENCES if s] * 4) if i < 40]
    (folder / "cr" / "all.csv").write_text("\n".join(["sentence,label", *rows]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def level_of_the_log():
    """A command that runs in the test's own process sets how much is logged; the next test starts as usual."""
    log = logging.getLogger("dse")
    before = log.level
    yield
    log.setLevel(before)
