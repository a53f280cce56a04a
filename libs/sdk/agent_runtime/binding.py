"""Turns one description of a call into a method of either client, with its signature and docstring."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, Self, TypeVar, overload

from agent_runtime.awaiting import AwaitingDriver
from agent_runtime.blocking import BlockingDriver
from agent_runtime.driving import Talk
from agent_runtime.retry import Retry
from agent_runtime.steps import Flow, Plan

P = ParamSpec("P")
T = TypeVar("T")


class Noun:
    """The calls about one kind of thing, blocking."""

    def __init__(self, driver: BlockingDriver, retry: Retry) -> None:
        self._driver, self._retry = driver, retry


class AsyncNoun:
    """The calls about one kind of thing, to be awaited."""

    def __init__(self, driver: AwaitingDriver, retry: Retry) -> None:
        self._driver, self._retry = driver, retry


class Described(Generic[P, T]):
    """Carries the name, signature and docstring of the description that it binds."""

    def __init__(self, describe: Callable[P, T]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__


class Call(Described[P, Plan[T]]):
    """A blocking method that returns the result."""

    @overload
    def __get__(self, noun: None, owner: type) -> Self: ...
    @overload
    def __get__(self, noun: Noun, owner: type) -> Callable[P, T]: ...
    def __get__(self, noun: Noun | None, owner: type) -> Self | Callable[P, T]:
        if noun is None:
            return self

        @functools.wraps(self.describe)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            plan = self.describe(*args, **kwargs)
            return noun._driver.run(plan.converse(noun._retry))

        return call


class Items(Described[P, Flow[T]]):
    """A blocking method that returns an iterator."""

    @overload
    def __get__(self, noun: None, owner: type) -> Self: ...
    @overload
    def __get__(self, noun: Noun, owner: type) -> Callable[P, Generator[T, None, None]]: ...
    def __get__(self, noun: Noun | None, owner: type) -> Self | Callable[P, Generator[T, None, None]]:
        if noun is None:
            return self

        @functools.wraps(self.describe)
        def items(*args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
            flow = self.describe(*args, **kwargs)
            return noun._driver.items(Talk(flow.converse(noun._retry)))

        return items


class AsyncCall(Described[P, Plan[T]]):
    """A method to be awaited."""

    @overload
    def __get__(self, noun: None, owner: type) -> Self: ...
    @overload
    def __get__(self, noun: AsyncNoun, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, noun: AsyncNoun | None, owner: type) -> Self | Callable[P, Coroutine[Any, Any, T]]:
        if noun is None:
            return self

        @functools.wraps(self.describe)
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            plan = self.describe(*args, **kwargs)
            return await noun._driver.run(plan.converse(noun._retry))

        return call


class AsyncItems(Described[P, Flow[T]]):
    """A method that returns an async iterator."""

    @overload
    def __get__(self, noun: None, owner: type) -> Self: ...
    @overload
    def __get__(self, noun: AsyncNoun, owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, noun: AsyncNoun | None, owner: type) -> Self | Callable[P, AsyncGenerator[T, None]]:
        if noun is None:
            return self

        @functools.wraps(self.describe)
        def items(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
            flow = self.describe(*args, **kwargs)
            return noun._driver.items(Talk(flow.converse(noun._retry)))

        return items
