// Browsers refuse workers to pages that were opened from a disk. There the search runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.append(this.frame)
      const inner = this.frame.contentWindow
      inner.postMessage = data => this.onmessage?.(new MessageEvent("message", { data }))
      const script = inner.document.createElement("script")
      script.src = new URL(url, location).href
      this.ready = new Promise((resolve, reject) => {
        script.onload = resolve
        script.onerror = reject
      })
      this.ready.catch(() => this.onerror?.(new ErrorEvent("error")))
      inner.document.body.append(script)
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow?.onmessage(new MessageEvent("message", { data })), () => {})
    }

    terminate() {
      this.frame.remove()
    }
  }
}
