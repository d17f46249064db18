"""Proclitics are cut where there is evidence, and only there."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasad.text.clitics import strip_proclitics

PIECES = st.sampled_from(
    [
        "و",
        "ف",
        "ب",
        "ل",
        "ك",
        "ال",
        "لل",
        "أ",
        "محمد",
        "لبنان",
        "لجنة",
        " ",
        "ـ",
        "ـﹷ",
        "_",
        "\u064e",
        "#",
        '"',
        "CNN",
        "3",
        "\ud800",
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=8).map("".join),
    st.text(st.characters(codec=None, exclude_categories=()), max_size=30),
)


@given(TEXTS, st.frozensets(TEXTS, max_size=4))
def test_any_string_has_a_core(surface, seen):
    core = strip_proclitics(surface, seen=seen)
    assert 0 <= core.start <= max(0, len(surface) - 1)
    assert core == strip_proclitics(surface, seen=seen)
    core.canonical.encode("utf-8")
    assert core.canonical == " ".join(core.canonical.split())
    if core.start:
        assert core.canonical
        assert surface[core.start] != "ـ"


@pytest.mark.parametrize(
    ("surface", "start", "canonical"),
    [
        ("لبغداد", 1, "بغداد"),
        ("بالقاهرة", 1, "القاهرة"),
        ("ولبنان", 1, "لبنان"),
        ("وبريطانيا", 1, "بريطانيا"),
        ("لداعش", 1, "داعش"),
        ("وروسيا", 1, "روسيا"),
        ("بليبيا", 1, "ليبيا"),
        ("لليبيا", 1, "ليبيا"),
        ("للبنان", 1, "لبنان"),
        ("وللبنان", 2, "لبنان"),
        ("للأمم المتحدة", 1, "الأمم المتحدة"),
        ("وللأمم المتحدة", 2, "الأمم المتحدة"),
        ("للسراج", 1, "السراج"),
        ("للجنة الأولمبية الدولية", 1, "اللجنة الأولمبية الدولية"),
        ("للجنة الانتخابات", 1, "لجنة الانتخابات"),
        ("للبنانيين", 1, "اللبنانيين"),
        ("والأردن", 1, "الأردن"),
        ("وبالقاهرة", 2, "القاهرة"),
        ("فالفريق الصيني", 1, "الفريق الصيني"),
        ("كالولايات المتحدة", 1, "الولايات المتحدة"),
        ("كمصر", 1, "مصر"),
        ("فواشنطن", 1, "واشنطن"),
        ("فحركة النهضة", 1, "حركة النهضة"),
        ("كداعش", 1, "داعش"),
        ("وكرامي", 1, "كرامي"),
        ("كالحرب العالمية", 1, "الحرب العالمية"),
        ("لإيران", 1, "إيران"),
        ("وأنقرة", 1, "أنقرة"),
        ("وآي بي إم", 1, "آي بي إم"),
        ("واسرائيل", 1, "اسرائيل"),
        ("ووزارة الخارجية", 1, "وزارة الخارجية"),
        ("وواشنطن", 1, "واشنطن"),
        ("ويوسف", 1, "يوسف"),
        ("لمحمد صلاح", 1, "محمد صلاح"),
        ("ولمحمد صلاح", 2, "محمد صلاح"),
        ("بمجلس الأمن", 1, "مجلس الأمن"),
        ("وبمجلس الأمن", 2, "مجلس الأمن"),
        ("لبي بي سي", 1, "بي بي سي"),
        ("لـCNN", 2, "CNN"),
        ("لCNN", 1, "CNN"),
        ("لــCNN", 3, "CNN"),
        ('بـ"الوفاق"', 3, "الوفاق"),
        ("و بغداد", 2, "بغداد"),
        ("وَلُبْنان", 2, "لبنان"),
        ("بــالــقاهرة", 3, "القاهرة"),
        ("للعراقیین", 1, "العراقيين"),
        ("بحكومة #الوفاق", 1, "حكومة الوفاق"),
    ],
)
def test_cut(surface, start, canonical):
    core = strip_proclitics(surface, seen=frozenset())
    assert (core.start, core.canonical) == (start, canonical)


UNCUT = """
وليد، بغداد، لبنان، باريس، بيروت، كندا، فلسطين، ولاية تكساس، بوتين، لندن، ليبيا، لافروف، وزارة الدفاع، وكالة
رويترز، واشنطن، ويكيبيديا، والتر، واتساب، وول ستريت، وانغ يي، ووهان، كريم بنزيمة، كامل، كمال، فيصل، فهد،
فالنسيا، فالح، باليرمو، بالتيمور، كاليفورنيا، كأس العالم، كالديرون، لجنة نوبل، لازيو، لاهاي، لوس أنجلوس، ليونيل
ميسي، لطفي، لحج، بشار، بكر، بلال، بحيرة طبريا، بنعطية، بن علي، وائل، وئام، وادي السيليكون، وحدة، فرانس برس،
كييف، كوريا، بعثة، فيسبوك، لكسمبورغ، كربلاء، لله، السراج، غزة، الأمم المتحدة، لميس الحديدي، ورزازات، وجنات، ونيس،
ونوس، ولاتة، لفيف، لزهر، لعريبي، بفالو، بفاريا، ورفلة، لميعة عباس عمارة، لقجع، أسماء لمنور، لمنور، لخويا، لبدة، لفوف،
لكناو، ورشفانة، وسلات، وردي، وصاب، وربة، ولادة بنت المستكفي، وهيبة، وليدة، وردية، ورغة، بمبلونة، بفيفر، بفورتسهايم،
لبيبة، لطفية، لزهاري بوزيد، ولايتي، فالنيفا الفرنسية، كاليدونيا الجديدة، فاليو الفرنسية، جان فالجان، فالجان، بريكس،
فريال أشرف، كرامي، لكلير، لرستان، ودان، فجوزيه، كسامي، فرايان
"""


@pytest.mark.parametrize("surface", [" ".join(name.split()) for name in UNCUT.split("،")])
def test_not_cut(surface):
    core = strip_proclitics(surface, seen=frozenset())
    assert (core.start, core.canonical) == (0, surface)


def test_a_stroke_inside_a_name_is_only_decoration():
    core = strip_proclitics("لـبنان", seen=frozenset())
    assert (core.start, core.canonical) == (0, "لبنان")


@pytest.mark.parametrize(
    ("surface", "seen", "start"),
    [
        ("لويستروم", {"ويستروم"}, 1),
        ("بكهبوب", {"كهبوب"}, 1),
        ("لاوزتورك", {"أوزتورك", "اوزتورك"}, 1),
        ("ولايبنتز", {"لايبنتز"}, 1),
        ("لويستروم", {"لويستروم"}, 0),
        ("وصن داونز", {"صن داونز", "صن"}, 1),
        ("وصن داونز", {"صن"}, 0),
        ("كامل", {"أمل", "امل"}, 0),
        ("فغوغل", {"غوغل"}, 1),
        ("فغوغل", set(), 0),
        ("كمارادونا", {"مارادونا"}, 1),
    ],
)
def test_the_article_is_evidence(surface, seen, start):
    assert strip_proclitics(surface, seen=seen).start == start


def test_a_word_inside_a_name_is_whole():
    whole = {"وليامز", "وزني", "لفتيت"}
    for surface, start in [("وليامز", 0), ("ووليامز", 1), ("للفتيت", 1), ("لفتيت", 0)]:
        assert strip_proclitics(surface, seen=frozenset(), whole=whole).start == start


def test_a_name_seen_with_a_proclitic_is_no_evidence():
    seen = {"لمجلس الأمن", "لمجلس", "وبمجلس"}
    assert strip_proclitics("للمجلس الأعلى", seen=seen).canonical == "المجلس الأعلى"


@pytest.mark.parametrize(
    "surface",
    [
        "",
        " ",
        "ـ",
        "\u064e\u0651",
        "و",
        "وال",
        "لل",
        "\ud800",
        "ب",
        "123",
        "«»",
        "بــ",
        "لــ رويترز",
        "بـ_",
        "بـﹷ",
        'بـ"ـ',
    ],
)
def test_no_name_no_cut(surface):
    assert strip_proclitics(surface, seen=frozenset()).start == 0


@pytest.mark.parametrize("piece", ["و", "ل", "ب", "ال", " ", "\u064e", "ـ", "#", "لل"])
def test_time_grows_with_length_alone(piece):
    surface = piece * (20_000 // len(piece))
    began = time.process_time()
    strip_proclitics(surface, seen=frozenset())
    assert time.process_time() - began < 2
