"""A function that serves HTTP on the listening socket it inherits as descriptor 3: the Python part of
the cold start table."""
import socket

listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nhello, world")
