"""Items, and the orders of users."""

from django.conf import settings
from django.db import models


class Item(models.Model):
    """Something to buy."""

    name = models.CharField(max_length=80, unique=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    stock = models.PositiveIntegerField(default=0)
    leaflet = models.FileField(upload_to="leaflets", blank=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    """A purchase of a user."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    item = models.ForeignKey(Item, models.CASCADE)
    count = models.PositiveIntegerField()
