from __future__ import annotations

import time
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rasad.enrich.entities import (
    EntityIndex,
    Resolution,
    bare_words,
    entity_id,
    is_part_of_person,
    is_short_form,
    name_key,
    resolve,
    salience,
)
from rasad.enrich.ner import Name
from rasad.messages import EntityType, Field


def name(canonical: str, kind: EntityType = "PER", *, field: Field = "body", start: int = 0, prob: float = 0.9) -> Name:
    return Name(
        field=field,
        start=start,
        end=start + len(canonical),
        surface=canonical,
        core_start=start,
        canonical=canonical,
        type=kind,
        subtype=None,
        prob=prob,
        sentence=0,
    )


def named_in(text: str, *found: tuple[str, EntityType]) -> tuple[list[Name], Resolution]:
    """Names where they first stand in `text` behind the one before, resolved."""
    names: list[Name] = []
    position = 0
    for canonical, kind in found:
        start = text.index(canonical, position)
        names.append(name(canonical, kind, start=start))
        position = start + len(canonical)
    return names, resolve(names, {"title": "", "body": text})


def test_a_surname_joins_the_full_name() -> None:
    _, found = named_in(
        "قال السراج. رئيس الحكومة فايز السراج. السراج", *[(n, "PER") for n in ("السراج", "فايز السراج", "السراج")]
    )
    (entity,) = found.entities
    assert (entity.canonical, entity.aliases, entity.mention_count) == ("فايز السراج", ("السراج",), 3)
    assert found.entity_of_name == (0, 0, 0)


def test_a_surname_of_two_people_joins_neither() -> None:
    _, found = named_in("علي حسن وعمر حسن ثم حسن", ("علي حسن", "PER"), ("عمر حسن", "PER"), ("حسن", "PER"))
    assert [entity.canonical for entity in found.entities] == ["علي حسن", "عمر حسن", "حسن"]


def test_a_name_joins_the_fullest_of_several_forms() -> None:
    _, found = named_in(
        "أردوغان رجب أردوغان رجب طيب أردوغان", ("أردوغان", "PER"), ("رجب أردوغان", "PER"), ("رجب طيب أردوغان", "PER")
    )
    assert [entity.canonical for entity in found.entities][-1] == "رجب طيب أردوغان"
    assert found.entity_of_name[0] == found.entity_of_name[2]


def test_a_father_does_not_join_his_son() -> None:
    king, prince = "سلمان بن عبدالعزيز", "محمد بن سلمان بن عبدالعزيز"
    names, found = named_in(f"الملك {king} والأمير {prince}", (king, "PER"), (prince, "PER"))
    assert found.entity_of_name == (0, 1)
    assert EntityIndex(resolve(names[1:], {"title": "", "body": ""}).entities).called(king) is None


def test_spellings_of_one_name_are_one_entity_under_the_most_frequent() -> None:
    _, found = named_in("القاهره القاهرة القاهرة", ("القاهره", "LOC"), ("القاهرة", "LOC"), ("القاهرة", "LOC"))
    (entity,) = found.entities
    assert (entity.canonical, entity.aliases) == ("القاهرة", ("القاهره",))


def test_the_type_is_the_one_with_most_probability() -> None:
    names = [
        name("الأهلي", "ORG", prob=0.9),
        name("الأهلي", "PER", start=20, prob=0.5),
        name("الأهلي", "PER", start=40, prob=0.3),
    ]
    (entity,) = resolve(names, {"title": "", "body": "." * 60}).entities
    assert entity.type == "ORG"
    assert entity.confidence == 0.9


@pytest.mark.parametrize(
    ("short", "whole", "expected"),
    [
        ("مجلس الأمن", "مجلس الأمن الدولي", True),
        ("الكونغرس", "الكونغرس الأميركي", True),
        ("النهضة", "حركة النهضة", True),
        ("الإخوان", "جماعة الإخوان المسلمين", True),
        ("الخارجية المصرية", "وزارة الخارجية المصرية", True),
        ("الأمم المتحدة", "بعثة الأمم المتحدة في ليبيا", False),
        ("الأمم المتحدة", "الأمم المتحدة للدعم", False),
        ("الأمم المتحدة", "منظمة الأمم المتحدة للطفولة", False),
        ("بعثة الأمم المتحدة", "بعثة الأمم المتحدة للدعم في ليبيا", True),
        ("هيئة الأمم المتحدة", "هيئة الأمم المتحدة للمرأة", False),
        ("الوفاق", "حكومة الوفاق الوطني", True),
        ("الوفاق", "حكومة الوفاق", False),
        ("حماس", "حكومة حماس", False),
        ("الجيش السوري", "الجيش السوري الحر", False),
        ("وزارة", "وزارة الدفاع", False),
        ("حركة", "حركة النهضة", False),
        ("مجلس الأمن", "مجلس الأمن", False),
        ("مجلس الأمن", "مجلس الأمن القومي الأميركي", False),
        ("وزارة التعليم", "وزارة التعليم العالي", False),
        ("التعليم", "وزارة التعليم العالي", False),
        ("التعليم العالي", "وزارة التعليم العالي", True),
        ("الصحة", "وزارة الصحة المصرية", True),
        ("الصحة", "وزارة الصحة والسكان", True),
        ("الصحة", "منظمة الصحة العالمية", False),
        ("الأهلي", "البنك الأهلي", False),
        ("الأهلي", "النادي الأهلي", True),
        ("المركزي", "البنك المركزي", True),
        ("المركزي التركي", "البنك المركزي التركي", True),
        ("الدستورية", "المحكمة الدستورية العليا", True),
        ("حزب الله", "ميليشيات حزب الله اللبنانية", True),
        ("مجلس القضاء", "مجلس القضاء الأعلى", True),
        ("الاتحاد", "الاتحاد السعودي", False),
        ("الاتحاد", "الاتحاد الآسيوي", False),
        ("الاتحاد", "الاتحاد السكندري", True),
        ("الاتحاد", "الاتحاد الأوروبي", True),
        ("البرلمان", "البرلمان المصري", False),
        ("الوكالة الدولية", "الوكالة الدولية للطاقة الذرية", True),
        ("الجمعية العامة", "الجمعية العامة للأمم المتحدة", True),
        ("اللجنة التنفيذية", "اللجنة التنفيذية للمنظمة", False),
        ("الاتحاد الأوروبي", "الاتحاد الأوروبي للإذاعة", False),
    ],
)
def test_short_forms_of_bodies(short: str, whole: str, expected: bool) -> None:
    assert is_short_form(name_key(short).split(), name_key(whole).split()) is expected


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        ("السراج", "فايز السراج", True),
        ("سراج", "فايز السراج", True),
        ("محمد بن زايد", "محمد بن زايد آل نهيان", True),
        ("رجب أردوغان", "رجب طيب أردوغان", True),
        ("طيب رجب", "رجب طيب أردوغان", False),
        ("فايز السراج", "فايز السراج", False),
        ("سلمان بن عبدالعزيز", "محمد بن سلمان بن عبدالعزيز", False),
        ("سلمان", "محمد بن سلمان", False),
        ("زايد", "محمد بن زايد آل نهيان", False),
        ("خلدون", "ابن خلدون", False),
        ("مبارك", "فاطمة بنت مبارك", False),
        ("بن سلمان", "محمد بن سلمان", True),
        ("محمد", "محمد بن سلمان", True),
        ("سلمان", "سلمان بن محمد بن سلمان", True),
    ],
)
def test_parts_of_persons(part: str, whole: str, expected: bool) -> None:
    assert is_part_of_person(bare_words(name_key(part)), bare_words(name_key(whole))) is expected


@pytest.mark.parametrize("bracketed", ['("قسد")', "\u200f(\u202bقسد\u200f)"])
def test_a_body_in_brackets_is_another_name_of_the_one_before(bracketed: str) -> None:
    text = f"قوات سوريا الديمقراطية {bracketed} وقسد ومنظمة (إيران)"
    _, found = named_in(text, ("قوات سوريا الديمقراطية", "ORG"), ("قسد", "ORG"), ("قسد", "ORG"), ("إيران", "LOC"))
    assert [entity.canonical for entity in found.entities] == ["قوات سوريا الديمقراطية", "إيران"]
    assert found.entity_of_name == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("holder", "agency", "bodies"),
    [
        ("الأمم المتحدة", "رويترز", 2),
        ("الأمم المتحدة", "أ ف ب", 2),
        ("وكالة الأنباء الفرنسية", "أ ف ب", 1),
        ("الوكالة العربية السورية للأنباء", "سانا", 1),
        ("فرانس برس", "أ.ف.ب", 1),
        ("هيئة الإذاعة البريطانية", "بي بي سي", 1),
    ],
)
def test_an_agency_that_is_credited_names_no_body_but_its_own(holder: str, agency: str, bodies: int) -> None:
    _, found = named_in(f"{holder} ({agency}) - قال", (holder, "ORG"), (agency, "ORG"))
    assert len(found.entities) == bodies


@pytest.mark.parametrize(
    ("whole", "alias", "bodies"),
    [
        ('حركة المقاومة الإسلامية "حماس"', "حماس", 1),
        ("قوات سوريا الديمقراطية (قسد)", "قسد", 1),
        ('مجلس شورى "النهضة"', "النهضة", 2),
        ('الهيئة العليا لحزب "الوفد"', "الوفد", 2),
    ],
)
def test_a_mention_that_ends_in_another_name_of_the_body_joins_that(whole: str, alias: str, bodies: int) -> None:
    _, found = named_in(f"قالت {whole} ثم {alias} أمس", (whole, "ORG"), (alias, "ORG"))
    assert len(found.entities) == bodies


def test_a_mention_full_of_quotation_marks_takes_no_time() -> None:
    began = time.process_time()
    for piece in ('ال" ', 'الأمم "', "الأمم (", "الأمم "):
        whole = "مجلس " + piece * 5_000
        resolve([name(whole, "ORG"), name("الأمم", "ORG", start=40_000)], {"title": "", "body": ""})
    assert time.process_time() - began < 5


def test_a_body_of_one_word_is_the_same_with_the_article_and_without() -> None:
    _, found = named_in(
        "الفيفا وفيفا ونصر والنصر", ("الفيفا", "ORG"), ("فيفا", "ORG"), ("نصر", "PER"), ("النصر", "ORG")
    )
    assert [entity.canonical for entity in found.entities] == ["الفيفا", "نصر", "النصر"]
    assert found.entity_of_name == (0, 0, 1, 2)


def test_a_body_that_ends_like_a_plural_is_the_same_with_the_article_and_without() -> None:
    _, found = named_in("قال البنتاغون إن بنتاغون", ("البنتاغون", "ORG"), ("بنتاغون", "ORG"))
    assert found.entity_of_name == (0, 0)


def test_both_forms_of_a_body_join_the_one_that_either_is_bracketed_behind() -> None:
    union = "الاتحاد الدولي"
    for alias, other in permutations(("فيفا", "الفيفا")):
        _, found = named_in(f"{union} ({alias}) ثم {other}", (union, "ORG"), (alias, "ORG"), (other, "ORG"))
        assert [entity.canonical for entity in found.entities] == [union]


def test_a_name_in_brackets_behind_two_bodies_joins_neither() -> None:
    african, european, union = "الاتحاد الأفريقي", "الاتحاد الأوروبي", "الاتحاد"
    text = f"{african} ({union}) يلتقي {european} ({union})"
    _, found = named_in(text, (african, "ORG"), (union, "ORG"), (european, "ORG"), (union, "ORG"))
    assert [entity.canonical for entity in found.entities] == [african, union, european]
    assert found.entity_of_name == (0, 1, 2, 1)


def test_a_name_in_brackets_behind_two_forms_of_one_body_joins_it() -> None:
    text = "حركة المقاومة الإسلامية (حماس) والمقاومة الإسلامية (حماس) والقاهرة (حماس)"
    forms = ("حركة المقاومة الإسلامية", "حماس", "المقاومة الإسلامية", "حماس")
    _, found = named_in(text, *[(form, "ORG") for form in forms], ("القاهرة", "LOC"), ("حماس", "ORG"))
    assert [entity.canonical for entity in found.entities] == ["حركة المقاومة الإسلامية", "القاهرة"]


@pytest.mark.parametrize(("words", "called"), [("علي", 0), ("عمر", 1), ("حسن", None), ("أحمد", None)])
def test_a_part_of_two_persons_names_calls_neither(words: str, called: int | None) -> None:
    _, found = named_in("علي حسن وعمر حسن", ("علي حسن", "PER"), ("عمر حسن", "PER"))
    assert EntityIndex(found.entities).called(words) == called


def test_many_names_of_common_words_are_told_apart_in_time() -> None:
    words = name_key(
        "محمد أحمد علي حسن حسين عمر خالد سعيد سالم ناصر يوسف إبراهيم عبدالله صالح فهد راشد ماجد سامي كمال فؤاد"
    ).split()
    persons = [name(" ".join(each), start=30 * number) for number, each in enumerate(permutations(words, 3))]
    bodies = [name(f"مجلس شورى {each.canonical}", "ORG", start=each.start) for each in persons]
    began = time.process_time()
    found = resolve([*persons, *bodies], {"title": "", "body": ""})
    assert time.process_time() - began < 5
    assert len(found.entities) == len(persons) + len(bodies)


@pytest.mark.parametrize(
    ("forms", "bodies"),
    [
        (["حكومة الوفاق", "حكومة الوفاق الليبية", "حكومة الوفاق الوطني"], 1),
        (["مجلس النواب", "مجلس النواب المصري", "مجلس النواب الأعلى"], 1),
        (["وزارة الخارجية", "وزارة الخارجية الليبية", "وزارة الخارجية المصرية"], 3),
        (["وزارة الخارجية", "وزارة الخارجية الليبية", "وزارة الخارجية النمساوية"], 3),
        (["حكومة الوفاق الليبية", "حكومة الوفاق الوطني"], 2),
    ],
)
def test_a_nation_adds_no_body_where_the_name_itself_goes_on(forms: list[str], bodies: int) -> None:
    for order in permutations(forms):
        _, found = named_in("، ".join(order), *[(form, "ORG") for form in order])
        assert len(found.entities) == bodies, order


@pytest.mark.parametrize(
    ("forms", "bodies"),
    [
        (["بعثة الأمم المتحدة", "البعثة الأممية", "بعثة الأمم المتحدة للدعم في ليبيا"], 1),
        (["البعثة الأممية", "بعثة الأمم المتحدة"], 1),
        (["البعثة الأممية", "بعثة الأمم المتحدة للدعم في ليبيا"], 1),
        (["البعثة الأممية", "الأمم المتحدة"], 2),
        (["المنظمة الأممية", "الأمم المتحدة"], 1),
        (["البعثة الأممية", "القوات الأممية", "بعثة الأمم المتحدة"], 2),
    ],
)
def test_an_adjective_stands_for_the_body_that_it_is_of(forms: list[str], bodies: int) -> None:
    for order in permutations(forms):
        _, found = named_in("، ".join(order), *[(form, "ORG") for form in order])
        assert len(found.entities) == bodies, order


def test_ids_are_the_same_in_every_article() -> None:
    (one,) = resolve([name("القاهرة", "LOC")], {"title": "", "body": "القاهرة"}).entities
    (other,) = resolve([name("القاهره", "LOC", start=9)], {"title": "x", "body": "........ القاهره"}).entities
    assert one.entity_id == other.entity_id == entity_id("LOC", "القاهرة")
    assert entity_id("ORG", "القاهرة") != one.entity_id


def test_the_title_and_the_beginning_weigh_most() -> None:
    first = salience([name("أ", field="title")], 100, 1)
    early = salience([name("أ", start=0)], 100, 2)
    late = salience([name("أ", start=90)], 100, 2)
    assert 1 == first > early > late > 0


FORMS = st.sampled_from(
    [
        "السراج",
        "فايز السراج",
        "حسن",
        "علي حسن",
        "عمر حسن",
        "الأمم المتحدة",
        "مجلس الأمن",
        "مجلس الأمن الدولي",
        "فيفا",
        "الفيفا",
        "ـ",
        "X",
    ]
)


@given(st.lists(st.tuples(FORMS, st.sampled_from(["PER", "ORG", "LOC", "MISC"])), max_size=12))
def test_every_name_has_one_entity_and_counts_add_up(found: list[tuple[str, EntityType]]) -> None:
    names = [name(canonical, kind, start=30 * index) for index, (canonical, kind) in enumerate(found)]
    resolution = resolve(names, {"title": "", "body": " " * 400})
    assert len(resolution.entity_of_name) == len(names)
    assert sum(entity.mention_count for entity in resolution.entities) == len(names)
    assert len({entity.entity_id for entity in resolution.entities}) == len(resolution.entities)
    assert all(0 <= entity.salience <= 1 and 0 <= entity.confidence <= 1 for entity in resolution.entities)
    assert all(
        list(entity.aliases) == sorted(set(entity.aliases) - {entity.canonical}) for entity in resolution.entities
    )
    assert resolve(names, {"title": "", "body": " " * 400}) == resolution


def test_servant_names_are_one_word_however_they_are_spaced() -> None:
    assert name_key("أحمد عبد الجواد") == name_key("احمد عبدالجواد")
    assert name_key("أبو ظبي") == name_key("أبوظبي")
    assert name_key("أبو") == "ابو"
    assert name_key("عبد ربه منصور هادي") == name_key("عبدربه منصور هادي")
    assert name_key("ضياء الدين رشوان") == name_key("ضياءالدين رشوان")
    assert name_key("عبد") == "عبد"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("الحوثيون", "الحوثيين"),
        ("الإخوان المسلمون", "الإخوان المسلمين"),
        ("الحكومة الأميركية", "الحكومة الأمريكية"),
        ("الولايات المتحدة الأميركية", "الولايات المتحدة"),
        ("الإمارات العربية المتحدة", "الإمارات"),
        ("المملكة العربية السعودية", "السعودية"),
        ("جمهورية مصر العربية", "مصر"),
        ("روسيا الاتحادية", "روسيا"),
        ("سورية", "سوريا"),
        ("أبي بكر البغدادي", "أبو بكر البغدادي"),
        ("علي بن أبي طالب", "علي بن أبو طالب"),
        ("آبي أحمد", "أبي أحمد"),
    ],
)
def test_case_spelling_and_full_names_of_states_change_no_name(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("كوريا الشمالية", "كوريا"),
        ("جنوب السودان", "السودان"),
        ("غينيا بيساو", "غينيا"),
        ("الكونغو الديمقراطية", "الكونغو"),
        ("آبي أحمد", "أبو أحمد"),
        ("ليون", "لين"),
    ],
)
def test_other_states_and_persons_keep_their_own_names(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)


KEYED = st.sampled_from(
    [
        "أبو",
        "أبي",
        "عبد",
        "ربه",
        "الدين",
        "الحوثيون",
        "ليون",
        "أميركا",
        "أحمد",
        "الله",
        "سورية",
        "-",
        "ـ",
    ]
)


@given(st.lists(KEYED))
def test_the_key_of_a_key_is_itself(words: list[str]) -> None:
    key = name_key(" ".join(words))
    assert name_key(key) == key


@pytest.mark.parametrize("piece", ["ون", "ال", "يون ", "أبو ", "عبد ", "الدين ", "ي"])
def test_keys_take_time_by_length_alone(piece: str) -> None:
    began = time.process_time()
    name_key(piece * (200_000 // len(piece)))
    assert time.process_time() - began < 2
