"""A chat window of Tk, which comes with Python: `python examples/tk_chat.py [DRAFTER.gguf BASE.gguf]`."""

import sys
import threading
import tkinter as tk

from edge_wsd import EdgeWsdError, Finished, Pair, Switched, Token

COLOURS = {"you": "#111827", "drafter": "#b45309", "base": "#1d4ed8"}


class Chat(tk.Tk):
    """Tk's calls belong to one thread. So a timer looks for events, and the models are loaded beside it."""

    def __init__(self, load):
        super().__init__()
        self.text = tk.Text(self, wrap="word", padx=12, pady=12)
        for who, colour in COLOURS.items():
            self.text.tag_configure(who, foreground=colour)
        self.status, self.question = tk.Label(self, anchor="w", text="loading"), tk.Entry(self)
        self.button = tk.Button(self, text="Ask", command=self.ask)
        for widget, side in ((self.text, "top"), (self.status, "top"), (self.question, "left"), (self.button, "right")):
            widget.pack(side=side, fill="both", expand=widget in (self.text, self.question))
        self.question.bind("<Return>", lambda _event: self.ask())
        self.pair = self.chat = self.stream = self.problem = None
        threading.Thread(target=self.load, args=[load], daemon=True).start()
        self.look()

    def load(self, load):
        try:
            self.pair = load()
        except EdgeWsdError as error:
            self.problem = str(error)

    def ask(self):
        if self.stream:  # the button says "Stop"
            self.stream.cancel()
        elif self.chat and (question := self.question.get().strip()):
            self.question.delete(0, "end")
            self.text.insert("end", f"\n{question}\n", "you")
            self.stream = self.chat.stream(question)

    def look(self):
        if self.pair and not self.chat:
            self.chat, self.status["text"] = self.pair.session(), "Ask a question about the command line."
        elif self.problem and not self.chat:
            self.status["text"] = self.problem
        try:
            for event in self.stream.available() if self.stream else ():
                if isinstance(event, Token):
                    self.text.insert("end", event.text, event.source)
                elif isinstance(event, Switched):
                    self.status["text"] = f"the base took over after {event.index + 1} tokens ({event.reason})"
                elif isinstance(event, Finished):
                    self.status["text"] += f", {len(event.reply.tokens)} tokens, {event.reply.finish_reason}"
        except EdgeWsdError as error:
            self.status["text"] = str(error)
        self.stream = self.stream if self.stream and not self.stream.is_over else None
        self.button.configure(text="Stop" if self.stream else "Ask")
        self.after(30, self.look)


if __name__ == "__main__":
    models = sys.argv[1:3]
    window = Chat(lambda: Pair.load(*models, isolate=True) if models else Pair.demo(isolate=True))
    window.mainloop()
