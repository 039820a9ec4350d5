import { h } from "vue";
export default { props: ["facts"], render() { return h("h1", "hello " + JSON.stringify(this.facts)); } };
