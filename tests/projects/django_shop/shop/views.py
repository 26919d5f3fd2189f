"""Pages: items with a cart in the session, orders for users, files, and a streamed table."""

from collections.abc import Iterator

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import F
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from shop.models import Item, Order


def items(request: HttpRequest) -> HttpResponse:
    """Show the items and the cart."""
    cart = request.session.get("cart", {})
    return render(request, "shop/items.html", {"items": Item.objects.all(), "cart": cart})


@require_POST
def add_to_cart(request: HttpRequest, number: int) -> HttpResponse:
    """Put an item into the cart."""
    item = get_object_or_404(Item, pk=number)
    cart = request.session.setdefault("cart", {})
    cart[item.name] = cart.get(item.name, 0) + 1
    request.session.modified = True
    messages.success(request, f"{item} is in the cart")
    return redirect("items")


@login_required
@transaction.atomic
def orders(request: HttpRequest) -> HttpResponse:
    """Show the orders of the user; POST makes them of the cart."""
    if request.method == "POST":
        for name, count in request.session.pop("cart", {}).items():
            item = get_object_or_404(Item, name=name)
            Order.objects.create(user=request.user, item=item, count=count)
            Item.objects.filter(pk=item.pk).update(stock=F("stock") - count)
        return redirect("orders")
    found = Order.objects.filter(user=request.user).select_related("item")
    return render(request, "shop/orders.html", {"orders": found})


def leaflet(request: HttpRequest, number: int) -> HttpResponseBase:
    """Send the file of an item."""
    item = get_object_or_404(Item, pk=number)
    if not item.leaflet:
        raise Http404(f"{item} has no leaflet")
    return FileResponse(item.leaflet.open(), as_attachment=True)


def prices(request: HttpRequest) -> StreamingHttpResponse:
    """Stream the prices as a table."""

    def lines() -> Iterator[str]:
        yield "name,price,stock\n"
        for item in Item.objects.iterator():
            yield f"{item.name},{item.price},{item.stock}\n"

    return StreamingHttpResponse(lines(), content_type="text/csv")
