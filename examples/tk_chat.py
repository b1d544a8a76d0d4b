"""A chat window of Tk, which comes with Python: `python examples/tk_chat.py [DRAFTER.gguf BASE.gguf]`."""

import queue
import sys
import threading
import tkinter as tk

from edge_wsd import EdgeWsdError, Pair, Token


class Chat(tk.Tk):
    """Tk's calls belong to one thread. What other threads have for it waits in `work`, where a timer finds it."""

    def __init__(self, *models):
        super().__init__()
        self.work, self.chat, self.stream = queue.SimpleQueue(), None, None
        self.text, self.question = tk.Text(self, wrap="word"), tk.Entry(self)
        self.text.tag_configure("drafter", foreground="#b45309")
        self.text.tag_configure("base", foreground="#1d4ed8")
        self.text.pack(fill="both", expand=True)
        self.question.pack(side="left", fill="x", expand=True)
        self.question.bind("<Return>", self.ask)
        tk.Button(self, text="Stop", command=lambda: self.stream and self.stream.cancel()).pack(side="left")
        threading.Thread(target=self.load, args=models, daemon=True).start()
        self.do_work()

    def load(self, *models):
        try:
            pair = Pair.load(*models, isolate=True) if models else Pair.demo(isolate=True)
            self.chat, told = pair.session(), f"{pair.name} is ready: type a question and press Enter"
        except EdgeWsdError as error:
            told = error
        self.work.put(lambda: self.write(told))

    def do_work(self):
        while not self.work.empty():
            self.work.get()()
        self.after(30, self.do_work)

    def ask(self, _event=None):
        if self.chat:
            try:
                self.stream = self.chat.stream(self.question.get())
                self.write(f"\n\n{self.question.get()}\n")
                self.question.delete(0, "end")
                self.stream.deliver(self.show, lambda error: self.write(f"\n{error}"), call=self.work.put)
            except EdgeWsdError as error:
                self.write(f"\n{error}")

    def show(self, event):
        if isinstance(event, Token):
            self.write(event.text, event.source)

    def write(self, text, author=None):
        self.text.insert("end", text, author)
        self.text.see("end")


if __name__ == "__main__":
    Chat(*sys.argv[1:3]).mainloop()
