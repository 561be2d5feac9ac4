"""A slow, plain evaluator of ListOps that imports nothing from hf_listops: what every line of every trace is held to.

Expressions are nested lists, `["SUM", 3, ["MAX", 7, 4]]`. The shuffled operations take their table from the caller.
"""


def read(text):
    """The nested list of an expression in our notation."""
    stack, current = [], []
    for token in text.split():
        if token[0] == "[":
            stack.append(current)
            current = [token[1:]]
        elif token == "]":
            finished, current = current, stack.pop()
            current.append(finished)
        else:
            current.append(int(token))
    assert len(current) == 1
    assert not stack
    return current[0]


def write(expression):
    if isinstance(expression, int):
        return str(expression)
    return "[" + expression[0] + "".join(" " + write(part) for part in expression[1:]) + " ]"


def apply(operation, numbers, modulus, tables):
    if operation == "MAX":
        best = numbers[0]
        for number in numbers:
            if number > best:
                best = number
        return best
    if operation == "MIN":
        best = numbers[0]
        for number in numbers:
            if number < best:
                best = number
        return best
    if operation == "MED":
        ordered = sorted(numbers)
        middle = len(ordered) // 2
        if len(ordered) % 2 == 1:
            return ordered[middle]
        return int((ordered[middle - 1] + ordered[middle]) / 2)
    if operation == "FIRST":
        return numbers[0]
    if operation == "LAST":
        return numbers[len(numbers) - 1]
    total = numbers[0]
    for place, number in enumerate(numbers[1:], start=1):
        if operation == "SUM":
            total += number
        elif operation == "PROD":
            total *= number
        elif operation == "NADD":
            total += number if place % 2 == 0 else -number
        else:
            total = int(tables[operation][total][number])
    return total % modulus


def flat(expression):
    return all(isinstance(part, int) for part in expression[1:])


def value(expression, modulus, tables):
    if isinstance(expression, int):
        return expression
    return apply(expression[0], [value(part, modulus, tables) for part in expression[1:]], modulus, tables)


def innermost(expression, modulus, tables):
    """Every call of numbers only replaced by its value."""
    if isinstance(expression, int):
        return expression
    if flat(expression):
        return apply(expression[0], expression[1:], modulus, tables)
    return [expression[0]] + [innermost(part, modulus, tables) for part in expression[1:]]


def leftmost(expression, modulus, tables):
    """The first call of numbers only replaced by its value."""
    if flat(expression):
        return apply(expression[0], expression[1:], modulus, tables)
    out = list(expression)
    for place, part in enumerate(expression):
        if isinstance(part, list):
            out[place] = leftmost(part, modulus, tables)
            return out
    raise AssertionError


def lines(expression, trace, modulus, tables):
    """The texts of a trace, from the expression to its value."""
    if isinstance(expression, int):
        return [str(expression), str(expression)]
    if trace == "direct":
        return [write(expression), str(value(expression, modulus, tables))]
    step = innermost if trace == "parallel" else leftmost
    out = [expression]
    while not isinstance(out[-1], int):
        out.append(step(out[-1], modulus, tables))
    return [write(line) for line in out]


def depth(expression):
    return 0 if isinstance(expression, int) else 1 + max(depth(part) for part in expression[1:])


def names(expression):
    if isinstance(expression, int):
        return set()
    return {expression[0]}.union(*(names(part) for part in expression[1:]))


def reduced(expression, modulus, tables):
    """The texts of all flat calls that are met on the way to the value."""
    if isinstance(expression, int):
        return []
    calls = [call for part in expression[1:] for call in reduced(part, modulus, tables)]
    numbers = [value(part, modulus, tables) for part in expression[1:]]
    return [*calls, write([expression[0], *numbers])]
