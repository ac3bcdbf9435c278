//! Locks, channels and threads of the engine: the real ones, or, with the feature `shuttle`, such as a model checker can
//! schedule. What uses them is the same code.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

#[cfg(feature = "shuttle")]
pub(crate) use checked::{Running, RwLock, join, mpsc, oneshot, spawn, watch};
#[cfg(not(feature = "shuttle"))]
pub(crate) use real::{Running, RwLock, join, mpsc, oneshot, spawn, spawn_here, watch};

/// What a future gives if it is asked once; it goes on when it is asked again.
pub(crate) async fn poll_once<T>(mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Option<T> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(given) => Poll::Ready(Some(given)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[cfg(not(feature = "shuttle"))]
mod real {
    use std::future::Future;
    use std::io;
    pub(crate) use std::sync::RwLock;
    use std::thread;

    pub(crate) use tokio::sync::{mpsc, oneshot, watch};

    /// A future that runs by itself.
    #[derive(Debug)]
    pub(crate) enum Running {
        /// On a thread of its own.
        Thread(thread::JoinHandle<()>),
        /// As a task of a runtime.
        Task(tokio::task::JoinHandle<()>),
    }

    /// Runs a future to its end on a thread and a runtime of its own.
    pub(crate) fn spawn<F: Future<Output = ()>>(
        name: &str,
        run: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(run()))?;
        Ok(Running::Thread(thread))
    }

    /// Runs a future to its end on the runtime of the caller.
    pub(crate) fn spawn_here(future: impl Future<Output = ()> + Send + 'static) -> Running {
        Running::Task(tokio::spawn(future))
    }

    /// Waits for the end without holding up others; whether it ended well.
    pub(crate) async fn join(running: Running) -> bool {
        match running {
            Running::Thread(thread) => {
                matches!(tokio::task::spawn_blocking(move || thread.join()).await, Ok(Ok(())))
            }
            Running::Task(task) => task.await.is_ok(),
        }
    }
}

/// Tokio's own channels, each operation of which is one step of the checker; its locks and threads.
#[cfg(feature = "shuttle")]
mod checked {
    use std::future::Future;
    use std::io;
    use std::sync::Arc;

    use tollgate_schedules::shuttle::sync::atomic::{AtomicUsize, Ordering};
    use tollgate_schedules::shuttle::{future, thread};

    pub(crate) use tollgate_schedules::shuttle::sync::RwLock;

    /// A thread.
    pub(crate) type Running = thread::JoinHandle<()>;

    /// Runs a future to its end on a thread of its own.
    pub(crate) fn spawn<F: Future<Output = ()>>(
        name: &str,
        run: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Running> {
        thread::Builder::new().name(name.to_owned()).spawn(move || future::block_on(run()))
    }

    /// Waits for a thread; whether it ended well.
    pub(crate) async fn join(thread: Running) -> bool {
        thread.join().is_ok()
    }

    /// What both ends of a channel touch before each operation: there the checker may let another thread go on.
    #[derive(Clone, Debug, Default)]
    struct Step(Arc<AtomicUsize>);

    impl Step {
        fn take(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(crate) mod mpsc {
        use tokio::sync::mpsc as real;
        pub(crate) use tokio::sync::mpsc::error;

        use super::Step;

        pub(crate) fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
            let (sender, receiver) = real::channel(capacity);
            let step = Step::default();
            (Sender { sender, step: step.clone() }, Receiver { receiver, step })
        }

        #[derive(Debug)]
        pub(crate) struct Sender<T> {
            sender: real::Sender<T>,
            step: Step,
        }

        impl<T> Sender<T> {
            pub(crate) fn try_send(&self, value: T) -> Result<(), error::TrySendError<T>> {
                self.step.take();
                self.sender.try_send(value)
            }

            pub(crate) async fn send(&self, value: T) -> Result<(), error::SendError<T>> {
                self.step.take();
                self.sender.send(value).await
            }

            pub(crate) fn capacity(&self) -> usize {
                self.step.take();
                self.sender.capacity()
            }

            pub(crate) fn max_capacity(&self) -> usize {
                self.sender.max_capacity()
            }
        }

        #[derive(Debug)]
        pub(crate) struct Receiver<T> {
            receiver: real::Receiver<T>,
            step: Step,
        }

        impl<T> Receiver<T> {
            pub(crate) async fn recv(&mut self) -> Option<T> {
                self.step.take();
                self.receiver.recv().await
            }

            pub(crate) fn try_recv(&mut self) -> Result<T, error::TryRecvError> {
                self.step.take();
                self.receiver.try_recv()
            }

            pub(crate) fn close(&mut self) {
                self.step.take();
                self.receiver.close();
            }

            pub(crate) fn is_closed(&self) -> bool {
                self.step.take();
                self.receiver.is_closed()
            }
        }
    }

    pub(crate) mod oneshot {
        use std::pin::Pin;
        use std::task::{Context, Poll};

        use tokio::sync::oneshot as real;

        use super::Step;

        pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
            let (sender, receiver) = real::channel();
            let step = Step::default();
            (Sender { sender, step: step.clone() }, Receiver { receiver, step })
        }

        #[derive(Debug)]
        pub(crate) struct Sender<T> {
            sender: real::Sender<T>,
            step: Step,
        }

        impl<T> Sender<T> {
            pub(crate) fn send(self, value: T) -> Result<(), T> {
                self.step.take();
                self.sender.send(value)
            }
        }

        #[derive(Debug)]
        pub(crate) struct Receiver<T> {
            receiver: real::Receiver<T>,
            step: Step,
        }

        impl<T> Future for Receiver<T> {
            type Output = Result<T, real::error::RecvError>;

            fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
                self.step.take();
                Pin::new(&mut self.receiver).poll(context)
            }
        }
    }

    pub(crate) mod watch {
        use tokio::sync::watch as real;
        use tokio::sync::watch::error::RecvError;

        use super::Step;

        pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
            let (sender, receiver) = real::channel(value);
            let step = Step::default();
            (Sender { sender, step: step.clone() }, Receiver { receiver, step })
        }

        #[derive(Debug)]
        pub(crate) struct Sender<T> {
            sender: real::Sender<T>,
            step: Step,
        }

        impl<T> Sender<T> {
            pub(crate) fn send_replace(&self, value: T) -> T {
                self.step.take();
                self.sender.send_replace(value)
            }
        }

        #[derive(Clone, Debug)]
        pub(crate) struct Receiver<T> {
            receiver: real::Receiver<T>,
            step: Step,
        }

        impl<T> Receiver<T> {
            pub(crate) fn borrow(&self) -> real::Ref<'_, T> {
                self.step.take();
                self.receiver.borrow()
            }

            pub(crate) fn borrow_and_update(&mut self) -> real::Ref<'_, T> {
                self.step.take();
                self.receiver.borrow_and_update()
            }

            pub(crate) async fn changed(&mut self) -> Result<(), RecvError> {
                self.step.take();
                self.receiver.changed().await
            }

            pub(crate) async fn wait_for(
                &mut self,
                wanted: impl FnMut(&T) -> bool,
            ) -> Result<real::Ref<'_, T>, RecvError> {
                self.step.take();
                self.receiver.wait_for(wanted).await
            }
        }
    }
}
