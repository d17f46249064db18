from __future__ import annotations

import time
from dataclasses import replace

import pytest

from rasad.enrich.entities import resolve
from rasad.enrich.quotes import Kind, Part, quotes, statements, trimmed
from rasad.messages import EntityType, Quote
from rasad.text.clitics import strip_proclitics
from tests.unit.test_entities import name


def read(text: str, labelled: list[tuple[Kind, str]], named: list[tuple[str, EntityType]] | None = None) -> list[Quote]:
    """Quotes of a body in which parts and names are given by their words, in order of appearance."""
    found = []
    position = 0
    for kind, words in labelled:
        start = text.index(words, position)
        position = start + 1
        paragraph = text[:start].count("\n")
        found.append(
            Part(kind=kind, field="body", start=start, end=start + len(words), paragraph=paragraph, prob=0.91234)
        )
    names = []
    position = 0
    for words, type_ in named or []:
        position = text.index(words, position)
        core = strip_proclitics(words, seen=frozenset())
        made = name(words, type_, start=position)
        names.append(replace(made, core_start=position + core.start, canonical=core.canonical))
        position += len(words)
    texts = {"title": "", "body": text}
    return list(quotes(found, names, resolve(names, texts), texts))


def test_cue_speaker_and_content_make_a_quote() -> None:
    text = 'وقال الوزير سامي الخطيب إن "الخطة جاهزة".'
    (quote,) = read(
        text,
        [("cue", "وقال"), ("speaker", "سامي الخطيب"), ("direct", "الخطة جاهزة")],
        [("سامي الخطيب", "PER")],
    )
    assert text[quote.start : quote.end] == "الخطة جاهزة"
    assert (quote.kind, quote.cue, quote.speaker) == ("direct", "وقال", "سامي الخطيب")
    assert quote.speaker_entity_id is not None
    assert quote.prob == 0.9123


def test_a_surname_speaks_for_the_full_name() -> None:
    text = "وصل سامي الخطيب.\nوأكد الخطيب أن الخطة جاهزة."
    (quote,) = read(
        text,
        [("cue", "وأكد"), ("speaker", "الخطيب"), ("indirect", "أن الخطة جاهزة")],
        [("سامي الخطيب", "PER"), ("الخطيب", "PER")],
    )
    assert (quote.kind, quote.speaker) == ("indirect", "سامي الخطيب")


def test_a_verb_without_a_subject_goes_on_with_the_last_speaker() -> None:
    text = "قال سامي الخطيب إن الخطة جاهزة.\nوأضاف أن التمويل كاف."
    first, second = read(
        text,
        [
            ("cue", "قال"),
            ("speaker", "سامي الخطيب"),
            ("indirect", "إن الخطة جاهزة"),
            ("cue", "وأضاف"),
            ("indirect", "أن التمويل كاف"),
        ],
        [("سامي الخطيب", "PER")],
    )
    assert second.speaker == first.speaker == "سامي الخطيب"
    assert second.speaker_entity_id == first.speaker_entity_id


def test_a_definite_noun_takes_up_an_earlier_description() -> None:
    text = "أفاد تقرير جديد للوزارة بأن العدد ارتفع.\nفقرة أولى.\nفقرة ثانية.\nوذكر التقرير أن السبب معروف."
    _, second = read(
        text,
        [
            ("cue", "أفاد"),
            ("speaker", "تقرير جديد"),
            ("indirect", "بأن العدد ارتفع"),
            ("cue", "وذكر"),
            ("indirect", "أن السبب معروف"),
        ],
    )
    assert (second.speaker, second.speaker_entity_id) == ("تقرير جديد", None)


@pytest.mark.parametrize(
    ("described", "speaker"),
    [
        ("البعثة الأممية", "بعثة الأمم المتحدة"),
        ("المنظمة الأممية", "الأمم المتحدة"),
        ("القوات الأممية", "القوات الأممية"),
    ],
)
def test_an_adjective_speaks_for_the_body_that_it_is_of(described: str, speaker: str) -> None:
    text = f"طالبت بعثة الأمم المتحدة بالهدوء كما طالبت الأمم المتحدة.\nوأضافت {described} أن القصف توقف."
    (quote,) = read(
        text,
        [("cue", "وأضافت"), ("speaker", described), ("indirect", "أن القصف توقف")],
        [("بعثة الأمم المتحدة", "ORG"), ("الأمم المتحدة", "ORG")],
    )
    assert quote.speaker == speaker
    assert (quote.speaker_entity_id is None) == (speaker == described)


def test_the_spokesman_of_a_body_is_not_the_body() -> None:
    text = "وقال المتحدث باسم وزارة الصحة إن الحملة مستمرة"
    (quote,) = read(
        text,
        [("cue", "وقال"), ("speaker", "المتحدث باسم وزارة الصحة"), ("indirect", "إن الحملة مستمرة")],
        [("وزارة الصحة", "ORG")],
    )
    assert (quote.speaker, quote.speaker_entity_id) == ("المتحدث باسم وزارة الصحة", None)


def test_a_cue_behind_the_content_serves_where_none_stands_before() -> None:
    text = "الحملة مستمرة، بحسب منظمة الصحة العالمية."
    (quote,) = read(
        text,
        [("indirect", "الحملة مستمرة"), ("cue", "بحسب"), ("speaker", "منظمة الصحة العالمية")],
        [("منظمة الصحة العالمية", "ORG")],
    )
    assert (quote.cue, quote.speaker) == ("بحسب", "منظمة الصحة العالمية")


def test_a_cue_between_two_contents_belongs_to_the_second() -> None:
    text = "الخطة جاهزة منذ يوم الأحد، وقال سامي الخطيب إن التمويل كاف"
    first, second = read(
        text,
        [
            ("indirect", "الخطة جاهزة منذ يوم الأحد"),
            ("cue", "وقال"),
            ("speaker", "سامي الخطيب"),
            ("indirect", "إن التمويل كاف"),
        ],
    )
    assert (first.cue, second.cue) == (None, "وقال")


def test_a_cue_of_another_paragraph_is_out_of_reach() -> None:
    (quote,) = read("وقال أمس.\nالخطة جاهزة منذ يوم", [("cue", "وقال"), ("indirect", "الخطة جاهزة منذ يوم")])
    assert (quote.cue, quote.speaker) == (None, None)


def test_without_a_labelled_speaker_the_name_behind_the_cue_speaks() -> None:
    (quote,) = read(
        "وأوضحت هدى سالم أن الحملة مستمرة",
        [("cue", "وأوضحت"), ("indirect", "أن الحملة مستمرة")],
        [("هدى سالم", "PER")],
    )
    assert quote.speaker == "هدى سالم"


def test_nothing_said_is_no_quote() -> None:
    assert read("وقال سامي", [("cue", "وقال"), ("speaker", "سامي")]) == []


def test_the_name_right_behind_the_verb_speaks_before_a_labelled_one() -> None:
    (quote,) = read(
        "اجتمع نشطاء من الحي، ودعا سامي الخطيب إلى مقاطعة الحفل",
        [("speaker", "نشطاء من الحي"), ("cue", "ودعا"), ("indirect", "مقاطعة الحفل")],
        [("سامي الخطيب", "PER")],
    )
    assert quote.speaker == "سامي الخطيب"


@pytest.mark.parametrize("outlet", ['وكالة "رويترز"', "صحيفة «رويترز»", "وكالة الأنباء رويترز", "قناة رويترز"])
def test_the_outlet_behind_the_verb_speaks(outlet: str) -> None:
    text = f"التقى الخطيب الوفد.\nتوقفت المحادثات يوم الأحد، حسب ما نقلته {outlet} عن مصادرها."
    (quote,) = read(
        text,
        [("indirect", "توقفت المحادثات يوم الأحد"), ("cue", "حسب ما نقلته")],
        [("الخطيب", "PER"), ("رويترز", "ORG")],
    )
    assert quote.speaker == "رويترز"


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("ونقلت رويترز عن سامي الخطيب قوله إن الخطة جاهزة.", "ونقلت"),
        ("ونقلت وكالة رويترز عن الوزير سامي الخطيب إن الخطة جاهزة.", "ونقلت"),
        ("إن الخطة جاهزة، بحسب ما نقلته رويترز عن سامي الخطيب.", "بحسب ما نقلته"),
        ("وينقل موقع رويترز عن سامي الخطيب إن الخطة جاهزة.", "وينقل"),
    ],
)
def test_who_passes_on_the_words_of_somebody_does_not_speak(text: str, cue: str) -> None:
    parts: list[tuple[Kind, str]] = [("cue", cue), ("speaker", "سامي الخطيب"), ("indirect", "إن الخطة جاهزة")]
    (quote,) = read(
        text,
        sorted(parts, key=lambda part: text.index(part[1])),
        [("رويترز", "ORG"), ("سامي الخطيب", "PER")],
    )
    assert quote.speaker == "سامي الخطيب"


def test_whoever_the_next_sentence_is_from_is_no_source_of_this_one() -> None:
    (quote,) = read(
        "إن الخطة جاهزة، بحسب ما نقلته رويترز. وغاب عن اللقاء سامي الخطيب.",
        [("indirect", "إن الخطة جاهزة"), ("cue", "بحسب ما نقلته"), ("speaker", "سامي الخطيب")],
        [("رويترز", "ORG"), ("سامي الخطيب", "PER")],
    )
    assert quote.speaker == "رويترز"


@pytest.mark.parametrize(("parted", "speaker"), [(" ", "ترامب"), ("» ", "ترامب"), ("، ", "إيران"), (". ", "إيران")])
def test_a_verb_behind_its_labelled_subject_has_its_object_behind_it(parted: str, speaker: str) -> None:
    (quote,) = read(
        f"ترامب{parted}يحذر إيران: لا تهددوا أميركا مجددا",
        [("speaker", "ترامب"), ("cue", "يحذر"), ("indirect", "لا تهددوا أميركا مجددا")],
        [("ترامب", "PER"), ("إيران", "LOC")],
    )
    assert quote.speaker == speaker


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "وقال السراج ردا على سؤال صحافيين عن [محادثات وقف النار، إنه يجب أن تكون هناك رسالة]",
            "إنه يجب أن تكون هناك رسالة",
        ),
        ("وقال السراج في رده على سؤال حول [موعد القمة، أن الموعد لم يحدد بعد]", "أن الموعد لم يحدد بعد"),
        ("وقال السراج عن [المحادثات، إنها لم تبدأ بعد]", "المحادثات، إنها لم تبدأ بعد"),
        ("وقال السراج ردا على سؤال عن [المحادثات التي لم تبدأ بعد]", "المحادثات التي لم تبدأ بعد"),
        ("وطرح سؤالا. وقال السراج عن [المحادثات، إنها لم تبدأ بعد]", "المحادثات، إنها لم تبدأ بعد"),
    ],
)
def test_an_answer_begins_behind_what_was_asked(asked: str, said: str) -> None:
    content = asked[asked.index("[") + 1 : -1]
    text = asked.replace("[", "").replace("]", "")
    (quote,) = read(text, [("cue", "وقال"), ("speaker", "السراج"), ("indirect", content)])
    assert text[quote.start : quote.end] == said


def test_an_outlet_that_is_told_does_not_speak() -> None:
    text = "وصل سامي الخطيب، وقال لوكالة رويترز إن الخطة جاهزة."
    (quote,) = read(
        text,
        [("cue", "وقال"), ("indirect", "إن الخطة جاهزة")],
        [("سامي الخطيب", "PER"), ("رويترز", "ORG")],
    )
    assert quote.speaker == "سامي الخطيب"


@pytest.mark.parametrize(
    "theirs",
    [
        "محامي البرغوثي",
        "محامـــي \u200fالبرغوثي",
        "مكتب البرغوثي",
        "زوجة مروان البرغوثي",
        "وكيل مروان البرغوثي",
        "حركة البرغوثي",
    ],
)
def test_somebodys_own_does_not_speak_as_him(theirs: str) -> None:
    name = theirs.split(" ", 1)[1].lstrip("\u200f")
    text = f"وصل مروان البرغوثي.\nوقال {theirs} إن الزيارة ألغيت."
    parts: list[tuple[Kind, str]] = [("cue", "وقال"), ("speaker", theirs), ("indirect", "إن الزيارة ألغيت")]
    (quote,) = read(text, parts, [("مروان البرغوثي", "PER"), (name, "PER")])
    assert (quote.speaker, quote.speaker_entity_id) == (strip_proclitics(theirs, seen=frozenset()).canonical, None)


@pytest.mark.parametrize(
    "titled",
    [
        "الرئيس البرغوثي",
        "رئيس الوزراء البرغوثي",
        "نجله البرغوثي",
        "الدكتور البرغوثي",
        "مهندس البرغوثي",
        "والقيادي البرغوثي",
    ],
)
def test_a_title_speaks_as_whom_it_belongs_to(titled: str) -> None:
    text = f"قال {titled} إن الزيارة ألغيت."
    (quote,) = read(
        text,
        [("cue", "قال"), ("speaker", titled), ("indirect", "إن الزيارة ألغيت")],
        [("البرغوثي", "PER")],
    )
    assert quote.speaker == "البرغوثي"


def test_a_title_that_ends_in_a_name_is_no_owner() -> None:
    text = "قال وزير خارجية مصر سامح شكري إن الزيارة ألغيت."
    (quote,) = read(
        text,
        [("cue", "قال"), ("speaker", "وزير خارجية مصر سامح شكري"), ("indirect", "إن الزيارة ألغيت")],
        [("مصر", "LOC"), ("سامح شكري", "PER")],
    )
    assert quote.speaker == "سامح شكري"


@pytest.mark.parametrize("called", ["شركة أرامكو", "شركة أرامكو السعودية"])
def test_the_noun_of_a_bodys_kind_is_no_part_of_its_name(called: str) -> None:
    name = called.removeprefix("شركة ")
    text = f"أعلنت {called} أن الأرباح ارتفعت."
    (quote,) = read(text, [("cue", "أعلنت"), ("speaker", called), ("indirect", "أن الأرباح ارتفعت")], [(name, "ORG")])
    assert (quote.speaker, quote.speaker_entity_id is None) == (name, False)


def test_the_speaker_of_the_next_sentence_does_not_speak_in_this_one() -> None:
    text = 'ونعى الوزير محمد المرتضى الراحل قائلاً إنه "كتب كثيرا". وكتبت هدى بركات أن الخسارة كبيرة.'
    first, second = read(
        text,
        [
            ("cue", "قائلاً"),
            ("direct", "كتب كثيرا"),
            ("cue", "وكتبت"),
            ("speaker", "هدى بركات"),
            ("indirect", "أن الخسارة كبيرة"),
        ],
        [("محمد المرتضى", "PER"), ("هدى بركات", "PER")],
    )
    assert (first.speaker, second.speaker) == ("محمد المرتضى", "هدى بركات")


def test_a_stretched_word_before_a_name_takes_no_time() -> None:
    title = f"رئي{'ـ' * 35}س الوزراء العراقي"
    text = f"وقال {title} حيدر العبادي/ إن الخطة جاهزة."
    began = time.process_time()
    (quote,) = read(
        text,
        [("cue", "وقال"), ("speaker", f"{title} حيدر العبادي"), ("indirect", "إن الخطة جاهزة")],
        [("حيدر العبادي", "PER")],
    )
    assert quote.speaker == "حيدر العبادي"
    assert time.process_time() - began < 5


def test_marks_that_nobody_sees_are_no_part_of_a_statement() -> None:
    text = "\u200f«السلام ممكن»\u200f"
    assert text[slice(*trimmed(text, 0, len(text)))] == "السلام ممكن"


@pytest.mark.parametrize("described", ["المتحدّث", "الْمتحدث", "المتحـــدث"])
def test_a_description_is_taken_up_whatever_marks_it_has(described: str) -> None:
    text = f"قال متحدث عسكري إن الخطة جاهزة.\nفقرة أولى.\nفقرة ثانية.\nوأوضح {described} أن التمويل كاف."
    first, second = read(
        text,
        [
            ("cue", "قال"),
            ("speaker", "متحدث عسكري"),
            ("indirect", "إن الخطة جاهزة"),
            ("cue", "وأوضح"),
            ("indirect", "أن التمويل كاف"),
        ],
    )
    assert first.speaker == second.speaker == "متحدث عسكري"


@pytest.mark.parametrize("adverb", ["قائلاً", "قائـــلا", "مشدّداً", "ومؤكِّدًا"])
def test_an_adverb_has_the_speaker_of_its_own_sentence(adverb: str) -> None:
    text = f'وقال صالح العرموطي إن القانون معيب.\nودافع وزير الشؤون حديثة الخريشة عن المشروع {adverb}: "خصصنا مقاعد".'
    first, second = read(
        text,
        [("cue", "وقال"), ("indirect", "إن القانون معيب"), ("cue", adverb), ("direct", "خصصنا مقاعد")],
        [("صالح العرموطي", "PER"), ("حديثة الخريشة", "PER")],
    )
    assert (first.speaker, second.speaker) == ("صالح العرموطي", "حديثة الخريشة")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('الجائزة "بيت الرواية"', 'الجائزة "بيت الرواية"'),
        ('"بيت الرواية"', "بيت الرواية"),
        ("قالت «بيت الرواية»،", "قالت «بيت الرواية»"),
        ('بيت الرواية"', "بيت الرواية"),
    ],
)
def test_a_quotation_opened_inside_keeps_its_end(text: str, kept: str) -> None:
    start, end = trimmed(text, 0, len(text))
    assert text[start:end] == kept


def test_contents_in_pieces_are_one_statement_and_strays_are_none() -> None:
    text = "وقال سامي الخطيب إن الخطة، كما يبدو، جاهزة تماما. وعاد مساء"
    (quote,) = read(
        text,
        [("cue", "وقال"), ("indirect", "إن الخطة"), ("indirect", "جاهزة تماما"), ("indirect", "مساء")],
        [("سامي الخطيب", "PER")],
    )
    assert text[quote.start : quote.end].startswith("إن الخطة، كما يبدو، جاهزة تماما")


def test_a_number_does_not_speak() -> None:
    (quote,) = read("قال 42 إن الطعام صحي", [("cue", "قال"), ("speaker", "42"), ("indirect", "إن الطعام صحي")])
    assert quote.speaker is None


@pytest.mark.parametrize(
    ("cue", "kind", "content", "inside"),
    [
        ('وأضاف "', "direct", "إيران لن تحصل على سلاح نووي أبدا", ("إيران", "LOC")),
        ("وأضاف: ", "indirect", "إيران لن تحصل على سلاح نووي أبدا", ("إيران", "LOC")),
        ("وتابع «", "direct", "روسيا شريك مهم لبلادنا", ("روسيا", "LOC")),
        ("وأضاف ", "indirect", "الحكومة لن تستقيل أبدا", ("الحكومة العراقية", "ORG")),
    ],
)
def test_what_was_said_names_no_speaker_of_its_own(
    cue: str, kind: Kind, content: str, inside: tuple[str, EntityType]
) -> None:
    text = f"أعلنت {inside[0]} عن الزيارة.\nوقال سامي الخطيب إن الخطة جاهزة.\n{cue}{content}."
    _, second = read(
        text,
        [("cue", "وقال"), ("indirect", "إن الخطة جاهزة"), ("cue", cue.strip(' :"«')), (kind, content)],
        [inside, ("سامي الخطيب", "PER"), *([inside] if inside[0] in content else [])],
    )
    assert second.speaker == "سامي الخطيب"


def test_what_was_said_before_the_cue_names_no_speaker_either() -> None:
    (quote,) = read(
        '"حماس لن تقبل بشروط جديدة"، على حد قوله.',
        [("direct", "حماس لن تقبل بشروط جديدة"), ("cue", "على حد قوله")],
        [("حماس", "ORG")],
    )
    assert (quote.cue, quote.speaker) == ("على حد قوله", None)


@pytest.mark.parametrize(
    ("told", "listener"),
    [
        ("وقال لرويترز", ("لرويترز", "ORG")),
        ("وأضاف لوكالة فرانس برس", ("لوكالة فرانس برس", "ORG")),
        ("وأكد بالقاهرة", ("بالقاهرة", "LOC")),
        ("وأكد مساء أمس لرويترز", ("لرويترز", "ORG")),
    ],
)
def test_who_is_told_does_not_speak(told: str, listener: tuple[str, EntityType]) -> None:
    (quote,) = read(f"{told} إن الخطة جاهزة.", [("cue", told.split()[0]), ("indirect", "إن الخطة جاهزة")], [listener])
    assert quote.speaker is None


@pytest.mark.parametrize("parted", [".\n", ". ", "\n", "؟ ", ".\u2028", ". ثم إن "])
@pytest.mark.parametrize("next_name", [("حفتر", "PER"), ("الجيش الليبي", "ORG")])
def test_whoever_the_next_sentence_names_does_not_speak(parted: str, next_name: tuple[str, EntityType]) -> None:
    (quote,) = read(
        f"الهجوم انتهى منذ مساء أمس، على حد قوله{parted}{next_name[0]} غادر",
        [("indirect", "الهجوم انتهى منذ مساء أمس"), ("cue", "على حد قوله")],
        [next_name],
    )
    assert (quote.cue, quote.speaker) == ("على حد قوله", None)


def test_a_definite_noun_of_the_next_paragraph_is_not_the_speaker() -> None:
    (quote,) = read(
        "أقر مجلس الوزراء الخطة في جلسة الأحد.\nالخطة جاهزة منذ مساء أمس، على حد قوله\nالوزراء غادروا",
        [("indirect", "الخطة جاهزة منذ مساء أمس"), ("cue", "على حد قوله")],
        [("مجلس الوزراء", "ORG")],
    )
    assert quote.speaker is None


def test_a_title_before_the_name_ends_no_sentence() -> None:
    (quote,) = read(
        "وأوضح أمس د. محمد البرادعي أن الخطة جاهزة",
        [("cue", "وأوضح"), ("indirect", "أن الخطة جاهزة")],
        [("محمد البرادعي", "PER")],
    )
    assert quote.speaker == "محمد البرادعي"


def test_strays_are_left_out_in_linear_time() -> None:
    line, count = 'قال: "نعم".\n', 10_000
    found: list[Part] = []
    for number in range(count):
        at = number * len(line)
        found.append(Part(kind="cue", field="body", start=at, end=at + 3, paragraph=number, prob=0.9))
        found.append(Part(kind="direct", field="body", start=at + 6, end=at + 9, paragraph=number, prob=0.9))
    began = time.process_time()
    left = statements(found, line * count)
    assert time.process_time() - began < 5
    assert left == found[::2]


@pytest.mark.parametrize("described", ["مسؤولون أمريكيون", "مسؤولين أمريكيين", "المسؤولون", "المسؤولين"])
def test_a_plural_takes_up_a_description_in_any_case(described: str) -> None:
    text = f"ونقل عن {described} إن الخطة جاهزة.\nفقرة أولى.\nفقرة ثانية.\nوأكد المسؤولون أن التمويل كاف."
    first, second = read(
        text,
        [
            ("cue", "ونقل"),
            ("speaker", described),
            ("indirect", "إن الخطة جاهزة"),
            ("cue", "وأكد"),
            ("indirect", "أن التمويل كاف"),
        ],
    )
    assert first.speaker == second.speaker == described


def test_a_definite_noun_takes_up_a_description_that_ends_like_a_plural() -> None:
    text = "أقر مجلس القانون الخطة.\nفقرة أولى.\nفقرة ثانية.\nوذكر القانون أن الخطة جاهزة."
    (quote,) = read(text, [("cue", "وذكر"), ("indirect", "أن الخطة جاهزة")], [("مجلس القانون", "ORG")])
    assert quote.speaker == "مجلس القانون"


@pytest.mark.parametrize(("others", "speaker"), [([], "حزب النهضة"), ([("حزب الأمة", "ORG")], None)])
def test_a_definite_noun_takes_up_the_only_body_that_it_fits(
    others: list[tuple[str, EntityType]], speaker: str | None
) -> None:
    bodies: list[tuple[str, EntityType]] = [("حزب النهضة", "ORG"), *others]
    gathering = f"اجتمع قادة {' و'.join(body for body, _ in bodies)} في العاصمة للتشاور مساء أمس الأحد في شؤون البلاد."
    text = f"{gathering}\nوأعلن الحزب أن الخطة جاهزة."
    (quote,) = read(text, [("cue", "وأعلن"), ("indirect", "أن الخطة جاهزة")], bodies)
    assert quote.speaker == speaker
