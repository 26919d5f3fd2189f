"""WSGI (PEP 3333): apps that are called in the loop's thread or in a pool of threads.

wsgi_detector.py   detect such an app
wsgi_service.py    start and stop such an app
wsgi_app.py        call the app in the loop's own thread
wsgi_threads.py    call the app in a pool of threads (--threads)
loop_threads.py    the thread pool, and the queue of calls back into the loop
environ.py         build the environ of a request
file_wrapper.py    wsgi.file_wrapper: files that can be sent without being read
"""
