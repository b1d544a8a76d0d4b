"""A chat window of Tk, which comes with Python: `python examples/tk_chat.py [DRAFTER.gguf BASE.gguf]`."""

from __future__ import annotations

import argparse
import threading
import tkinter as tk

from edge_wsd import EdgeWsdError, Finished, Pair, Reading, Switched, Token

COLOURS = {"drafter": "#b45309", "base": "#1d4ed8"}
LOOK_MS = 30


class Chat(tk.Tk):
    """Tk's calls belong to one thread. So a timer looks for events, and the models are loaded beside it."""

    def __init__(self, load) -> None:
        super().__init__()
        self.title("edge-wsd")
        self.text = tk.Text(self, wrap="word", state="disabled", padx=12, pady=12, width=72, height=22)
        for who, colour in {**COLOURS, "you": "#111827"}.items():
            self.text.tag_configure(who, foreground=colour, font=("TkDefaultFont", 12, "bold" if who == "you" else ""))
        self.status, self.question = tk.Label(self, anchor="w", text="loading"), tk.Entry(self)
        self.button = tk.Button(self, text="Ask", command=self.ask, state="disabled")
        self.text.pack(fill="both", expand=True)
        self.status.pack(fill="x")
        self.question.pack(side="left", fill="x", expand=True)
        self.button.pack(side="right")
        self.question.bind("<Return>", lambda _event: self.ask())
        self.pair, self.chat, self.stream, self.problem = None, None, None, ""
        threading.Thread(target=self.load, args=[load], daemon=True).start()
        self.look()

    def load(self, load) -> None:
        try:
            self.pair = load()
        except EdgeWsdError as error:
            self.problem = str(error)

    def ask(self) -> None:
        if self.stream is not None:  # the button says "Stop"
            self.stream.cancel()
        elif self.chat and (question := self.question.get().strip()):
            self.question.delete(0, "end")
            self.write(f"\n{question}\n", "you")
            try:
                self.stream = self.chat.stream(question)
            except EdgeWsdError as error:
                self.status["text"] = str(error)

    def look(self) -> None:
        if self.pair and not self.chat:
            self.chat, self.status["text"] = self.pair.session(), "Ask a question about the command line."
        if self.problem:
            self.status["text"] = self.problem
        try:
            for event in self.stream.available() if self.stream else ():
                self.show(event)
        except EdgeWsdError as error:
            self.status["text"] = str(error)
        if self.stream is not None and self.stream.is_over:
            self.stream = None
        self.button.configure(text="Stop" if self.stream else "Ask", state="normal" if self.chat else "disabled")
        self.after(LOOK_MS, self.look)

    def show(self, event) -> None:
        match event:
            case Token(text=text, source=source):
                self.write(text, source)
            case Switched(index=index, reason=reason):
                self.status["text"] = f"the base took over after {index + 1} tokens ({reason})"
            case Reading(model=model, n_read=n_read, n_tokens=n_tokens):
                self.status["text"] = f"the {model} reads: {n_read} of {n_tokens}"
            case Finished(reply=reply):
                self.status["text"] += f", {len(reply.tokens)} tokens, {reply.finish_reason}"

    def write(self, text: str, who: str) -> None:
        self.text.configure(state="normal")
        self.text.insert("end", text, who)
        self.text.configure(state="disabled")
        self.text.see("end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="a drafter and a base; without them the demonstration pair")
    models = parser.parse_args().models
    window = Chat(lambda: Pair.load(*models, isolate=True) if models else Pair.demo(isolate=True))
    window.mainloop()
    if window.pair:
        window.pair.close()


if __name__ == "__main__":
    main()
