"""The words of chat: Chinese is segmented by jieba, other scripts at their word boundaries; what every line says is left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

MAX_WORD: Final = 40
MAX_WORDS_PER_MESSAGE: Final = 100
_RUNS: Final = re.compile(r"([\u3400-\u9fff\uf900-\ufaff]{2,})|([^\W\d_\u3400-\u9fff\uf900-\ufaff][\w'’-]+)")
_CHINESE: Final = (
    "一个 一下 一些 一样 一直 不会 不是 不要 不能 不过 为什么 主播 之后 也是 了吗 什么 他们 你们 你的 但是 你是 其实 其他 再来 别人 到底 "
    "只是 只有 可以 可能 因为 大家 她们 如果 它们 就是 已经 怎么 怎么样 应该 想要 感觉 我们 我是 我的 所以 所有 时候 是不是 是的 有点 "
    "有没有 有人 没有 然后 现在 的话 知道 真是 真的 那个 那么 那些 那样 都是 觉得 还是 还有 这个 这么 这些 这样 这里 那里 里面 非常"
)
_ENGLISH: Final = (
    "about all also am an and any are as at be because been but by can can't could did didn't do does doesn't don't for from get got had "
    "has have he her here him his how if in into is isn't it it's its just like me more my no not now of off oh ok on one only or our out "
    "over really she so some such than that that's the their them then there these they this those to too up us very was wasn't we were "
    "what when where which who why will with won't would yes you you're your i'm i've he's"
)
_STOP: Final = frozenset((*_CHINESE.split(), *_ENGLISH.split(), "哈哈"))


def words_of(text: str) -> list[str]:
    """The words of one message, each once: whoever repeats a word fifty times in a line has said it once."""
    found: dict[str, None] = {}
    for chinese, other in _RUNS.findall(text):
        for word in _segmenter()(chinese) if chinese else (other.casefold(),):
            length = len(word)
            # "aaaa" and "哈哈哈" are noise, "ss" may be a word.
            if 1 < length <= MAX_WORD and word not in _STOP and (length == 2 or word != word[0] * length):
                found[word] = None
        if len(found) >= MAX_WORDS_PER_MESSAGE:
            break
    return list(found)


@cache
def _segmenter() -> Callable[[str], Iterable[str]]:
    # Its dictionary takes 35 MB, which a process that hears no Chinese need not have.
    import rjieba

    cut: Callable[[str], Iterable[str]] = rjieba.cut
    return cut
