"""Masking passwords in a script that is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_agent.core.restore.masking import masked

HASH = "1,5f4dcc3b5aa765d61d8327deb882cf99,c0ffee"


@pytest.mark.parametrize(
    ("script", "shown"),
    [
        ("CREATE USER a SET ENCRYPTED PASSWORD '1,a,b' CHANGE NOT REQUIRED", "CREATE USER a SET ENCRYPTED PASSWORD '***' CHANGE NOT REQUIRED"),
        ("ALTER USER a SET PLAINTEXT PASSWORD \"it's\"", 'ALTER USER a SET PLAINTEXT PASSWORD "***"'),
        ("create user a set password 'a''b'", "create user a set password '***''***'"),
        (r"SET PASSWORD 'a\'b\\' CHANGE", "SET PASSWORD '***' CHANGE"),
        ("SET PASSWORD 'a;b'; RETURN 'c'", "SET PASSWORD '***'; RETURN 'c'"),
        ("RETURN 'a'; SET PASSWORD 'b'", "RETURN 'a'; SET PASSWORD '***'"),
        ("CREATE USER `it's` SET PASSWORD 'a'; RETURN 'b'", "CREATE USER `it's` SET PASSWORD '***'; RETURN 'b'"),
        ("CREATE USER `a``'` SET PASSWORD 'b'", "CREATE USER `a``'` SET PASSWORD '***'"),
        ("// it's\nSET PASSWORD 'a'", "// it's\nSET PASSWORD '***'"),
        ("/* ' ; */ SET PASSWORD 'a'", "/* ' ; */ SET PASSWORD '***'"),
        ("SET PASSWORD 'a", "SET PASSWORD '***'"),
        ("SET PASSWORD 'a\\", "SET PASSWORD '***'"),
        ("SET AUTH 'native' {SET ENCRYPTED PASSWORD '1,a,b'}", "SET AUTH '***' {SET ENCRYPTED PASSWORD '***'}"),
        ("CREATE ROLE `clerks`; GRANT ACCESS ON DATABASE $database TO `clerks`;",) * 2,
        (f":param hash => '{HASH}';\nRETURN `{HASH}`", ":param hash => '***';\nRETURN `***`"),
    ],
)  # fmt: skip
def test_the_strings_of_a_statement_with_a_password_are_masked(script: str, shown: str) -> None:
    assert masked(script) == shown


@given(
    quote=st.sampled_from("'\""),
    password=st.text(st.sampled_from("aé;`/*\\'\" \n"), min_size=1),
    name=st.text(st.sampled_from("b'\"`;/*")),
)
def test_no_quoted_password_is_shown(quote: str, password: str, name: str) -> None:
    escaped = f"secret{password}".replace("\\", "\\\\").replace(quote, f"\\{quote}")
    user = name.replace("`", "``")
    script = f"CREATE USER `{user}` SET PASSWORD {quote}{escaped}{quote};RETURN 'shown'"

    assert masked(script) == f"CREATE USER `{user}` SET PASSWORD {quote}***{quote};RETURN 'shown'"
