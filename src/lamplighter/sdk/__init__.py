"""The SDK: `Client` and `AsyncClient`, with the same names and the same results, wherever the endpoints are."""
