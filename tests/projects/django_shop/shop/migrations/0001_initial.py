"""The first tables."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """Make the tables of items and orders."""

    initial = True
    dependencies = (migrations.swappable_dependency(settings.AUTH_USER_MODEL),)
    operations = (
        migrations.CreateModel(
            "Item",
            [
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=80, unique=True)),
                ("price", models.DecimalField(decimal_places=2, max_digits=8)),
                ("stock", models.PositiveIntegerField(default=0)),
                ("leaflet", models.FileField(blank=True, upload_to="leaflets")),
            ],
            options={"ordering": ("name",)},
        ),
        migrations.CreateModel(
            "Order",
            [
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("count", models.PositiveIntegerField()),
                ("item", models.ForeignKey("shop.item", django.db.models.deletion.CASCADE)),
                (
                    "user",
                    models.ForeignKey(settings.AUTH_USER_MODEL, django.db.models.deletion.CASCADE),
                ),
            ],
        ),
    )
