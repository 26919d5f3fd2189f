"""The URLs of the shop and of its admin."""

from django.contrib import admin
from django.urls import include, path

VERSION = "one"
admin.site.index_title = f"Site administration {VERSION}"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("django.contrib.auth.urls")),
    path("", include("shop.urls")),
]
