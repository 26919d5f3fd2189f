"""The items and orders in the admin."""

from django.contrib import admin

from shop.models import Item, Order


@admin.register(Item)
class ItemAdmin(admin.ModelAdmin):
    """A list that shows the stock."""

    list_display = ("name", "price", "stock")
    search_fields = ("name",)


admin.site.register(Order)
