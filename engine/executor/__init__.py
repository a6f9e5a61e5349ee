"""The executor: the child process that runs user code, and the pickling that client and worker
share with it.

Law: standard library and cloudpickle only, relative imports only, and nothing here looks at the
package above: in a foreign environment this folder is loaded alone, under the name
`cellspan_executor`.
"""
