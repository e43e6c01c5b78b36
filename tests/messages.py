"""What bad input has to end in: one message, no traceback."""


def assert_one_message(result, code, *expected):
    assert result.returncode == code, result.stdout + result.stderr
    problem = [line for line in result.stderr.splitlines() if line.startswith(("error:", "usage:"))]
    assert len(problem) == 1, result.stderr
    for text in expected:
        assert text in problem[0]
