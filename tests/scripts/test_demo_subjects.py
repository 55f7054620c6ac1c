"""What `scripts/demo` asks, of photographs and of drawings."""

import demo_subjects
import pytest
from demo_subjects import Subject


@pytest.mark.parametrize(
    ("subject", "pictures", "questions", "languages"),
    [(demo_subjects.photographs(), 51, 40, 20), (demo_subjects.drawings(), 300, 20, 19)],
)
def test_each_question_has_a_picture(subject: Subject, pictures: int, questions: int, languages: int) -> None:
    """Protects the numbers that the README tells, and that no question is asked in vain."""
    assert len(subject.pictures) == pictures
    assert len(subject.questions) == questions
    assert len({question.language for question in subject.questions}) == languages
    stems = {path.stem for path in subject.pictures}
    assert all(question.right & stems for question in subject.questions)
    assert stems <= subject.captions.keys()
