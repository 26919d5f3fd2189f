"""``manage.py restock NAME PRICE COUNT``."""

from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import F

from shop.models import Item


class Command(BaseCommand):
    """Adds items to the stock, also new ones."""

    help = "Add items to the stock."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("name")
        parser.add_argument("price", type=Decimal)
        parser.add_argument("count", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        """Add them."""
        item, _ = Item.objects.get_or_create(
            name=options["name"], defaults={"price": options["price"]}
        )
        Item.objects.filter(pk=item.pk).update(stock=F("stock") + options["count"])
        item.refresh_from_db()
        self.stdout.write(f"{item}: {item.stock} in stock")
