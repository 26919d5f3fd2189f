"""The pages of the shop."""

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.items, name="items"),
    path("cart/add/<int:number>/", views.add_to_cart, name="add-to-cart"),
    path("orders/", views.orders, name="orders"),
    path("leaflets/<int:number>/", views.leaflet, name="leaflet"),
    path("prices.csv", views.prices, name="prices"),
]
