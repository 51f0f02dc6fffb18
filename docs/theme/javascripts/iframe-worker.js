// Browsers refuse workers to pages that were opened from a disk. There the search runs in a hidden frame instead, and
// messages pass as a worker's do: as copies, and later.
if (location.protocol === "file:") {
  const send = (target, data) => {
    const copy = structuredClone(data)
    setTimeout(() => target.onmessage?.(new MessageEvent("message", { data: copy })))
  }
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inner = this.frame.contentWindow
      inner.postMessage = data => send(this, data)
      const script = inner.document.createElement("script")
      script.src = new URL(url, location).href
      this.ready = new Promise((resolve, reject) => {
        script.onload = () => resolve(inner)
        script.onerror = reject
      })
      this.ready.catch(() => this.onerror?.(new ErrorEvent("error")))
      inner.document.body.append(script)
    }

    postMessage(data) {
      this.ready.then(inner => send(inner, data), () => {})
    }

    terminate() {
      this.frame.remove()
    }
  }
}
