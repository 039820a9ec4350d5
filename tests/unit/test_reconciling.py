"""A provider's bill is compared with what was charged, and what is wrong with it is told by line and column."""

from datetime import date
from decimal import Decimal

import pytest

from lamplighter.domain.reconciling import Difference, read_bill, reconcile
from lamplighter.errors import InvalidInput

MONDAY, TUESDAY, WEDNESDAY = date(2026, 11, 16), date(2026, 11, 17), date(2026, 11, 18)


def test_differences_are_told_by_endpoint_and_day():
    bill = "endpoint,day,amount\nchat,2026-11-16,1.50\nchat,2026-11-17,2\nembed,2026-11-16,0.25\n"
    charged = {("chat", MONDAY): Decimal("1.5"), ("chat", TUESDAY): Decimal("1.75"), ("mert", TUESDAY): Decimal(1)}
    assert reconcile(read_bill(bill), charged) == [
        Difference(endpoint="chat", day=TUESDAY, billed=Decimal(2), charged=Decimal("1.75")),
        Difference(endpoint="embed", day=MONDAY, billed=Decimal("0.25"), charged=Decimal(0)),
        Difference(endpoint="mert", day=TUESDAY, billed=Decimal(0), charged=Decimal(1)),
    ]
    assert [one.difference for one in reconcile(read_bill(bill), charged)] == [
        Decimal("0.25"),
        Decimal("0.25"),
        Decimal(-1),
    ]


def test_days_outside_of_the_bill_are_left_alone():
    assert reconcile({("chat", TUESDAY): Decimal(1)}, {("chat", WEDNESDAY): Decimal(1)}) == [
        Difference(endpoint="chat", day=TUESDAY, billed=Decimal(1), charged=Decimal(0))
    ]


@pytest.mark.parametrize(
    "bill",
    [
        "amount,currency,endpoint,note,day\n$1.50,USD,chat,,2026-11-16\n",
        "\ufeffEndpoint; Day ;AMOUNT\nchat;2026-11-16T00:00:00Z;1.5\n\n",
        "endpoint,day,amount\nchat,2026-11-16,USD 2\nchat,2026-11-16,-5e-1\n",
        'endpoint,day,amount\r\n"chat",2026-11-16,1\r\nchat,2026-11-16,0.5\r\n',
    ],
)
def test_order_other_columns_and_ways_of_writing_do_not_matter(bill):
    assert read_bill(bill) == {("chat", MONDAY): Decimal("1.5")}


@pytest.mark.parametrize(
    ("bill", "told"),
    [
        ("", "the columns endpoint, day, amount are missing; it needs endpoint, day, amount, and has none"),
        ("endpoint,date,amount\n", "the column day is missing; it needs .* and has 'endpoint', 'date', 'amount'"),
        ("endpoint,day,amount\nchat,yesterday,1\n", "line 2: day: 'yesterday' should be a date such as 2026-11-21"),
        ("endpoint,day,amount\n\nchat,2026-11-16,much\n", "line 3: amount: 'much' should be a number of dollars"),
        ("endpoint,day,amount\nchat,2026-11-16,nan\n", "line 2: amount: 'nan'"),
        ("endpoint,day,amount\nchat,2026-11-16,1e9999999\n", "line 2: amount: '1e9999999'"),
        ("endpoint,day,amount\nchat,2026-11-16,1_000\n", "line 2: amount: '1_000'"),
        ("endpoint,day,amount\nchat,2026-11-16,9e13\n", "line 2: amount: '9e13'"),
        ("endpoint,day,amount\nchat,2026-11-219,1\n", "line 2: day: '2026-11-219'"),
        ("endpoint,day,amount\n" + "chat,2026-11-16,1\n" * 100_000, "more than 100,000 lines; send it in parts"),
        ("endpoint,day,Amount,amount\nchat,2026-11-16,1,2\n", "names amount more than once"),
        ("endpoint,day,amount\n ,2026-11-16,1\n", "line 2: endpoint: it is empty"),
        ("endpoint,day,amount\nchat\n", "line 2: it has 1 values, and needs 3"),
        ('endpoint,day,amount\n"chat,2026-11-16,1\n', "is no CSV"),
        ("endpoint,day,amount\n" + "chat,x,1\n" * 9, "; and 4 more"),
    ],
)
def test_what_is_wrong_with_a_bill_is_told(bill, told):
    with pytest.raises(InvalidInput, match=told):
        read_bill(bill)


def test_a_bill_without_lines_differs_in_nothing():
    assert reconcile(read_bill("endpoint,day,amount\n"), {("chat", MONDAY): Decimal(1)}) == []
